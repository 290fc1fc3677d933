//! Work on many keys in one call, which has ways of its own into both levels.

use std::io;
use std::time::Duration;

use bilten_cache::Loaded;
use fastrand::Rng;

use crate::driver::{Driver, loose, name, tag};
use crate::event::{KEYS, TAGS, Takes, What, now};
use crate::shelves::Shelf;

/// Keys of one call.
const MANY: usize = 8;

impl Driver {
    pub(crate) async fn get_many(&self, rng: &mut Rng) -> io::Result<()> {
        let keys: [u32; MANY] = Shelf::some(rng, |rng| rng.u32(..KEYS));
        let start = now();
        let found = self.shelf(keys[0]).get_many(&keys.map(name)).await;
        for (key, found) in keys.into_iter().zip(found) {
            let found = found.map(|version| *version);
            self.record(start, What::Read { key, found });
        }
        Ok(())
    }

    pub(crate) async fn get_or_load_many(&self, rng: &mut Rng) -> io::Result<()> {
        let keys: [u32; MANY] = Shelf::some(rng, |rng| rng.u32(..KEYS));
        let pauses = [(); 2].map(|()| Duration::from_micros(rng.u64(..4_000)));
        let truth = self.truth.clone();
        let load = move |missing: Vec<String>| {
            let truth = truth.clone();
            async move {
                tokio::time::sleep(pauses[0]).await;
                let mut rows = Vec::new();
                for name in missing {
                    let number = name.rsplit(':').next().and_then(|key| key.parse().ok());
                    let key: u32 = number.ok_or_else(|| io::Error::other("a foreign key"))?;
                    let version = truth.read(key).await?;
                    rows.push((name, Loaded::new(version).tags([tag(key % TAGS)])));
                }
                tokio::time::sleep(pauses[1]).await;
                Ok::<_, io::Error>(rows)
            }
        };
        let start = now();
        let shelf = self.shelf(keys[0]);
        let found = shelf.get_or_load_many(keys.map(name), load).await;
        for (key, found) in keys.into_iter().zip(found.map_err(io::Error::other)?) {
            let found = found.map(|version| *version);
            self.record(start, What::Read { key, found });
        }
        Ok(())
    }

    pub(crate) async fn remove_many(&self, rng: &mut Rng) -> io::Result<()> {
        let keys: [u32; 3] = Shelf::some(rng, loose);
        for key in keys {
            self.truth.bump(key).await?;
        }
        let start = now();
        let shelf = self.shelf(keys[0]);
        let ack = shelf.remove_many(keys.map(name)).await.unwrap();
        for key in keys {
            self.changed(start, Takes::Key(key), ack);
        }
        Ok(())
    }
}
