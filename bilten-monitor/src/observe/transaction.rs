use std::fmt::{Debug, Display};
use std::future::Future;
use std::pin::Pin;

use async_trait::async_trait;
use sea_orm::{
    AccessMode, DbErr, IsolationLevel, TransactionError, TransactionOptions, TransactionSession,
    TransactionTrait,
};

use super::Observed;
use super::fault::outcome;

/// What a transaction's callback returns.
type Work<'c, T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>;

impl<C> Observed<C> {
    async fn begun<T>(
        &self,
        begin: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<Observed<T>, DbErr> {
        let transaction = self.word("BEGIN").run_with(begin, outcome).await?;
        Ok(self.wrap(transaction))
    }
}

#[async_trait]
impl<C: TransactionTrait> TransactionTrait for Observed<C> {
    type Transaction = Observed<C::Transaction>;

    async fn begin(&self) -> Result<Self::Transaction, DbErr> {
        self.begun(self.inner.begin()).await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<Self::Transaction, DbErr> {
        self.begun(self.inner.begin_with_config(isolation_level, access_mode))
            .await
    }

    async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<Self::Transaction, DbErr> {
        self.begun(self.inner.begin_with_options(options)).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self::Transaction) -> Work<'c, T, E> + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        let transaction = self.begin().await.map_err(TransactionError::Connection)?;
        settled(transaction, callback).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(&'c Self::Transaction) -> Work<'c, T, E> + Send,
        T: Send,
        E: Display + Debug + Send,
    {
        let begun = self.begin_with_config(isolation_level, access_mode).await;
        settled(begun.map_err(TransactionError::Connection)?, callback).await
    }
}

#[async_trait]
impl<C: TransactionSession + Send> TransactionSession for Observed<C> {
    async fn commit(self) -> Result<(), DbErr> {
        self.word("COMMIT")
            .run_with(self.inner.commit(), outcome)
            .await
    }

    async fn rollback(self) -> Result<(), DbErr> {
        self.word("ROLLBACK")
            .run_with(self.inner.rollback(), outcome)
            .await
    }
}

/// Commits what succeeded and rolls back what failed, as SeaORM's own transactions do.
async fn settled<X, F, T, E>(transaction: X, callback: F) -> Result<T, TransactionError<E>>
where
    X: TransactionSession,
    F: for<'c> FnOnce(&'c X) -> Work<'c, T, E>,
{
    let result = callback(&transaction)
        .await
        .map_err(TransactionError::Transaction);
    let settled = if result.is_ok() {
        transaction.commit().await
    } else {
        transaction.rollback().await
    };
    settled.map_err(TransactionError::Connection)?;
    result
}
