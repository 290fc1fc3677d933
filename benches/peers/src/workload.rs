//! The values, keys and access patterns that all peers are given.

use serde::{Deserialize, Serialize};

/// Ten fields, about 500 bytes of JSON: a row of an ordinary table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Item {
    pub(crate) id: u64,
    /// Tells an old value from a new one in the races.
    pub(crate) version: u64,
    title: String,
    summary: String,
    place: String,
    organiser: String,
    starts_at: i64,
    price_cents: u32,
    tags: Vec<String>,
    is_public: bool,
}

impl Item {
    pub(crate) fn new(id: u64, version: u64) -> Self {
        Self {
            id,
            version,
            title: format!("Evening of chamber music number {id}"),
            summary: "Three quartets, an interval with soup, and a short talk about the \
                      instruments. Doors open half an hour before the first piece; the hall \
                      is heated, the benches are not soft, and children sit in front."
                .to_owned(),
            place: format!("Hall {}, Harbour Street {}", id % 7, id % 90),
            organiser: "Society of Friends of Small Ensembles".to_owned(),
            starts_at: 1_790_000_000 + i64::try_from(id % 100_000).unwrap_or(0) * 60,
            price_cents: 1_250,
            tags: ["music", "evening", "indoors"].map(str::to_owned).to_vec(),
            is_public: true,
        }
    }

    /// The least that an item can be: 150 bytes without anything behind them.
    pub(crate) fn bare(id: u64) -> Self {
        Self {
            id,
            version: 0,
            title: String::new(),
            summary: String::new(),
            place: String::new(),
            organiser: String::new(),
            starts_at: 0,
            price_cents: 0,
            tags: Vec::new(),
            is_public: false,
        }
    }
}

/// `prefix:0` to `prefix:{count - 1}`.
pub(crate) fn keys(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}:{n}")).collect()
}

/// `length` indices below `keys`, Zipf-distributed with exponent `s`, the same for every peer.
///
/// Drawn by inversion from the cumulative weights `1 / rank^s`. Ranks are scattered over the
/// indices, so that popular keys do not sit beside each other in memory.
pub(crate) fn zipf(keys: usize, s: f64, length: usize) -> Vec<u32> {
    let draws = Zipf::over(keys, s);
    let mut random = fastrand::Rng::with_seed(0x5EED);
    let mut scattered: Vec<u32> = (0..u32::try_from(keys).unwrap_or(u32::MAX)).collect();
    random.shuffle(&mut scattered);
    (0..length)
        .map(|_| scattered[draws.draw(&mut random)])
        .collect()
}

/// What happens to the popularity of keys while a trace runs.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Drift {
    None,
    /// One read in five is of a key that never comes again.
    OneOff,
    /// Every so many reads, other keys are the popular ones.
    Every(usize),
}

/// The same for long traces over many keys, with a drift.
pub(crate) fn drifting(keys: usize, s: f64, length: usize, drift: Drift) -> Vec<u32> {
    let draws = Zipf::over(keys, s);
    let mut random = fastrand::Rng::with_seed(0x5EED);
    let mut scattered: Vec<u32> = (0..u32::try_from(keys).unwrap_or(u32::MAX)).collect();
    random.shuffle(&mut scattered);
    let mut once = scattered.len() as u32..;
    let mut next = |at: usize| {
        match drift {
            Drift::OneOff if random.u8(0..5) == 0 => return once.next().unwrap_or(u32::MAX),
            Drift::Every(reads) if at > 0 && at.is_multiple_of(reads) => {
                random.shuffle(&mut scattered);
            }
            _ => {}
        }
        scattered[draws.draw(&mut random)]
    };
    (0..length).map(&mut next).collect()
}

/// Ranks by popularity.
struct Zipf {
    cumulative: Vec<f64>,
}

impl Zipf {
    fn over(keys: usize, s: f64) -> Self {
        let mut total = 0.0;
        let weigh = |rank| {
            total += f64::from(rank).powf(-s);
            total
        };
        let ranks = 1..=u32::try_from(keys).unwrap_or(u32::MAX);
        Self {
            cumulative: ranks.map(weigh).collect(),
        }
    }

    fn draw(&self, random: &mut fastrand::Rng) -> usize {
        let total = self.cumulative.last().copied().unwrap_or(0.0);
        let drawn = random.f64() * total;
        let rank = self.cumulative.partition_point(|&sum| sum < drawn);
        rank.min(self.cumulative.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_about_500_bytes_of_json() {
        let json = serde_json::to_vec(&Item::new(12_345, 0)).unwrap();
        assert!((450..=550).contains(&json.len()), "{} bytes", json.len());
    }

    #[test]
    fn a_drift_is_what_it_says() {
        let once = drifting(1_000, 0.99, 10_000, Drift::OneOff);
        let strangers = once.iter().filter(|&&key| key >= 1_000).count();
        assert!((1_500..2_500).contains(&strangers), "{strangers}");
        let plain = drifting(1_000, 0.99, 100, Drift::None);
        let shifting = drifting(1_000, 0.99, 100, Drift::Every(50));
        assert_eq!(plain[..50], shifting[..50]);
        assert_ne!(plain[50..], shifting[50..]);
    }

    #[test]
    fn the_most_popular_key_gets_its_zipf_share() {
        let trace = zipf(1_000, 0.99, 100_000);
        let mut counts = vec![0_u32; 1_000];
        for &index in &trace {
            counts[index as usize] += 1;
        }
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let weights: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-0.99)).sum();
        let expected = 100_000.0 / weights;
        assert!((f64::from(counts[0]) / expected - 1.0).abs() < 0.1);
    }
}
