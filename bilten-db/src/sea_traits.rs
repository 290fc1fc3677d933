//! SeaORM's three traits for everything that routes calls.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use sea_orm::{
    AccessMode, ConnectionTrait, DbBackend, DbErr, ExecResult, IsolationLevel, QueryResult,
    Statement, StreamTrait, TransactionError, TransactionOptions, TransactionTrait,
};

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

            fn support_returning(&self) -> bool {
                self.router()
                    .topology()
                    .primary
                    .backend
                    .connection()
                    .support_returning()
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

        #[async_trait]
        impl TransactionTrait for $type {
            type Transaction = Tx;

            async fn begin(&self) -> Result<Tx, DbErr> {
                self.begin_with_options(TransactionOptions::default()).await
            }

            async fn begin_with_config(
                &self,
                isolation_level: Option<IsolationLevel>,
                access_mode: Option<AccessMode>,
            ) -> Result<Tx, DbErr> {
                let options = TransactionOptions {
                    isolation_level,
                    access_mode,
                    ..TransactionOptions::default()
                };
                self.begin_with_options(options).await
            }

            async fn begin_with_options(&self, options: TransactionOptions) -> Result<Tx, DbErr> {
                self.run(&Begin(options)).await
            }

            async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(
                        &'c Tx,
                    )
                        -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
                    + Send,
                T: Send,
                E: fmt::Display + fmt::Debug + Send,
            {
                self.transaction_with_config(callback, None, None).await
            }

            async fn transaction_with_config<F, T, E>(
                &self,
                callback: F,
                isolation_level: Option<IsolationLevel>,
                access_mode: Option<AccessMode>,
            ) -> Result<T, TransactionError<E>>
            where
                F: for<'c> FnOnce(
                        &'c Tx,
                    )
                        -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
                    + Send,
                T: Send,
                E: fmt::Display + fmt::Debug + Send,
            {
                let begun = self.begin_with_config(isolation_level, access_mode).await;
                let tx = begun.map_err(TransactionError::Connection)?;
                let outcome = callback(&tx).await;
                tx.end(outcome).await
            }
        }
    };
}

implement!(Cluster);
implement!(Session);
