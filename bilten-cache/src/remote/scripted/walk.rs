//! A walk over the keys of all servers: a cluster's primaries in the order of their lowest slots.

use super::Answer;

/// Slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// Where a walk stands: a slot of the server it is on, and the cursor there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: u16,
    pub(super) cursor: String,
}

impl Place {
    /// Reads what [`encode`](Self::encode) wrote; anything else is the start.
    pub(super) fn decode(text: &str) -> Self {
        let parts = text.split_once(' ');
        let place = parts.and_then(|(slot, cursor)| {
            let slot = slot.parse().ok().filter(|slot| *slot < SLOTS)?;
            let cursor = cursor
                .bytes()
                .all(|b| b.is_ascii_digit())
                .then_some(cursor)?;
            Some(Self::at(slot, cursor))
        });
        place.unwrap_or_else(|| Self::at(0, "0"))
    }

    pub(super) fn at(slot: u16, cursor: &str) -> Self {
        Self {
            slot,
            cursor: cursor.to_owned(),
        }
    }

    pub(super) fn encode(&self) -> String {
        format!("{} {}", self.slot, self.cursor)
    }
}

/// The lowest slot of each primary, from the answer to `CLUSTER SLOTS`.
pub(super) fn first_slots(answer: &Answer) -> Vec<u16> {
    let Answer::Array(ranges) = answer else {
        return Vec::new();
    };
    let owned = ranges.iter().filter_map(|range| match range {
        Answer::Array(parts) => match parts.as_slice() {
            [Answer::Int(first), _, primary, ..] => Some((u16::try_from(*first).ok()?, primary)),
            _ => None,
        },
        _ => None,
    });
    let mut owned: Vec<_> = owned.collect();
    owned.sort_by_key(|(first, _)| *first);
    let mut lowest: Vec<(u16, &Answer)> = Vec::new();
    for (first, primary) in owned {
        if lowest.iter().all(|(_, known)| *known != primary) {
            lowest.push((first, primary));
        }
    }
    lowest.into_iter().map(|(first, _)| first).collect()
}

/// A key of the slot, which sends a script to its owner.
pub(super) fn key_of(slot: u16) -> String {
    let texts = (0_u32..).map(|n| n.to_string());
    let mut fits = texts.filter(|text| slot_of(text.as_bytes()) == slot);
    fits.next().unwrap_or_default()
}

/// CRC-16 with the polynomial 0x1021, as the specification of Redis Cluster has it.
fn slot_of(key: &[u8]) -> u16 {
    let crc = key.iter().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_what_redis_computes() {
        // The value of the specification's own example.
        assert_eq!(slot_of(b"123456789"), 0x31C3);
        for slot in [0, 1, 5_461, 16_383] {
            assert_eq!(slot_of(key_of(slot).as_bytes()), slot);
        }
    }

    #[test]
    fn a_place_survives_its_text_and_anything_else_is_the_start() {
        let place = Place::at(5_461, "1792");
        assert_eq!(Place::decode(&place.encode()), place);
        for text in ["", "x", "1", "99999 0", "1 x"] {
            assert_eq!(Place::decode(text), Place::at(0, "0"), "{text}");
        }
    }

    #[test]
    fn each_primary_is_visited_once_at_its_lowest_slot() {
        let primary =
            |name: &'static str| Answer::Array(vec![Answer::Bytes(name.into()), Answer::Int(6379)]);
        let range = |first, last, name| {
            Answer::Array(vec![Answer::Int(first), Answer::Int(last), primary(name)])
        };
        let answer = Answer::Array(vec![
            range(9_000, 16_383, "c"),
            range(100, 8_999, "b"),
            range(0, 99, "c"),
            Answer::Nothing,
        ]);
        assert_eq!(first_slots(&answer), [0, 100]);
        assert_eq!(first_slots(&Answer::Other), Vec::<u16>::new());
    }
}
