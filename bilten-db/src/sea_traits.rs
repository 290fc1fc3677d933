//! SeaORM's three traits for everything that routes calls.

use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, Statement, StreamTrait,
    TransactionOptions,
};

use crate::begins::begins;
use crate::call::{Begin, Execute, ExecuteUnprepared, OpenStream, QueryAll, QueryOne};
use crate::rows::Rows;
use crate::transaction::Tx;
use crate::{Cluster, Session};

// A blanket implementation of a foreign trait is not allowed, so each type gets its own.
macro_rules! implement {
    ($type:ty) => {
        #[async_trait]
        impl ConnectionTrait for $type {
            fn get_database_backend(&self) -> DbBackend {
                self.router().backend()
            }

            async fn execute_raw(&self, stmt: Statement) -> Result<ExecResult, DbErr> {
                self.run(&Execute(&self.router().tagged(stmt))).await
            }

            async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
                self.run(&ExecuteUnprepared(&self.router().commented(sql)))
                    .await
            }

            async fn query_one_raw(&self, stmt: Statement) -> Result<Option<QueryResult>, DbErr> {
                self.run(&QueryOne(&self.router().tagged(stmt))).await
            }

            async fn query_all_raw(&self, stmt: Statement) -> Result<Vec<QueryResult>, DbErr> {
                self.run(&QueryAll(&self.router().tagged(stmt))).await
            }
        }

        impl StreamTrait for $type {
            type Stream<'a> = Rows;

            fn get_database_backend(&self) -> DbBackend {
                self.router().backend()
            }

            fn stream_raw<'a>(
                &'a self,
                stmt: Statement,
            ) -> Pin<Box<dyn Future<Output = Result<Rows, DbErr>> + 'a + Send>> {
                Box::pin(async move {
                    let stmt = self.router().tagged(stmt);
                    let rows = self.run(&OpenStream(&stmt)).await?;
                    Ok(rows.teach(self.router().lessons(), stmt.sql))
                })
            }
        }

        begins!($type, Tx);
    };
}

implement!(Cluster);
implement!(Session);

impl Cluster {
    async fn begin_tx(&self, options: TransactionOptions) -> Result<Tx, DbErr> {
        self.run(&Begin(options)).await
    }
}

impl Session {
    async fn begin_tx(&self, options: TransactionOptions) -> Result<Tx, DbErr> {
        self.run(&Begin(options)).await
    }
}
