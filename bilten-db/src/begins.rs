//! SeaORM's way to begin a transaction, for everything that can.

/// SeaORM's trait for what can begin a [`Tx`]: `begin_tx` is all that differs.
macro_rules! begins {
    ($type:ty, $tx:ty) => {
        $crate::begins::begins!(
            $type, $tx,
            transaction() with None, None;
            transaction_with_config(
                isolation_level: Option<sea_orm::IsolationLevel>,
                access_mode: Option<sea_orm::AccessMode>,
            ) with isolation_level, access_mode;
        );
    };
    (
        $type:ty, $tx:ty,
        $($name:ident($($argument:ident: $kind:ty,)*) with $isolation:expr, $access:expr;)*
    ) => {
        #[async_trait::async_trait]
        impl sea_orm::TransactionTrait for $type {
            type Transaction = $tx;

            async fn begin(&self) -> Result<Self::Transaction, sea_orm::DbErr> {
                self.begin_tx(sea_orm::TransactionOptions::default()).await
            }

            async fn begin_with_config(
                &self,
                isolation_level: Option<sea_orm::IsolationLevel>,
                access_mode: Option<sea_orm::AccessMode>,
            ) -> Result<Self::Transaction, sea_orm::DbErr> {
                let options = sea_orm::TransactionOptions {
                    isolation_level,
                    access_mode,
                    ..Default::default()
                };
                self.begin_tx(options).await
            }

            async fn begin_with_options(
                &self,
                options: sea_orm::TransactionOptions,
            ) -> Result<Self::Transaction, sea_orm::DbErr> {
                self.begin_tx(options).await
            }

            $(
                async fn $name<F, T, E>(
                    &self,
                    callback: F,
                    $($argument: $kind,)*
                ) -> Result<T, sea_orm::TransactionError<E>>
                where
                    F: for<'c> FnOnce(
                            &'c Self::Transaction,
                        ) -> std::pin::Pin<
                            Box<dyn std::future::Future<Output = Result<T, E>> + Send + 'c>,
                        > + Send,
                    T: Send,
                    E: std::fmt::Display + std::fmt::Debug + Send,
                {
                    let begun = self.begin_with_config($isolation, $access).await;
                    let tx = begun.map_err(sea_orm::TransactionError::Connection)?;
                    let outcome = callback(&tx).await;
                    tx.end(outcome).await
                }
            )*
        }
    };
}
pub(crate) use begins;
