//! Items as JSON in Redis through fred: what people write by hand.

use fred::prelude::*;
use fred::types::scan::Scanner;
use futures_util::TryStreamExt;

use crate::peer::{Failure, TIME_TO_LIVE};
use crate::server::connect;
use crate::workload::Item;

#[derive(Clone)]
pub(super) struct Shelf(Client);

impl Shelf {
    pub(super) async fn open(url: &str) -> Result<Self, Failure> {
        Ok(Self(connect(url).await?))
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<Item>, Failure> {
        let found: Option<bytes::Bytes> = self.0.get(key).await?;
        Ok(found
            .map(|json| serde_json::from_slice(&json))
            .transpose()?)
    }

    /// `MGET`.
    pub(super) async fn get_many(&self, keys: &[String]) -> Result<Vec<Option<Item>>, Failure> {
        let found: Vec<Option<bytes::Bytes>> = self.0.mget(keys.to_vec()).await?;
        let decode = |json: Option<bytes::Bytes>| {
            let json = json.map(|json| serde_json::from_slice(&json));
            Ok(json.transpose()?)
        };
        found.into_iter().map(decode).collect()
    }

    pub(super) async fn set(&self, key: &str, item: &Item) -> Result<(), Failure> {
        let json = bytes::Bytes::from(serde_json::to_vec(item)?);
        let expiry = Expiration::EX(i64::try_from(TIME_TO_LIVE.as_secs())?);
        let _: () = self.0.set(key, json, Some(expiry), None, false).await?;
        Ok(())
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Failure> {
        let _: () = self.0.del(key).await?;
        Ok(())
    }

    /// `SCAN` in steps of 1,000 and `UNLINK` of each page.
    pub(super) async fn delete_prefix(&self, prefix: &str) -> Result<(), Failure> {
        let mut pages = Box::pin(self.0.scan(format!("{prefix}*"), Some(1_000), None));
        while let Some(mut page) = pages.try_next().await? {
            if let Some(keys) = page.take_results().filter(|keys| !keys.is_empty()) {
                let _: () = self.0.unlink(keys).await?;
            }
            page.next();
        }
        Ok(())
    }
}
