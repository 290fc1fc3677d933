//! Bytes that nobody meant, for everything that reads bytes from elsewhere: the envelope, the formats, pages, the pattern
//! parser.
//!
//! cargo-fuzz needs a nightly compiler, and so does bolero with a coverage engine, and this crate is tested with the compiler that its
//! users have. Without one, bolero 0.13.7 tries the corpus and then random bytes, which is less than this does, and it asks for exactly one version of
//! indexmap (`=2.11.2`), which would hold the whole workspace back. So the inputs are changed here, beginning from a kept corpus, and an input is kept for the run when what came of
//! it is new, which is a coarse coverage. Each target runs for [`SECONDS`] of them, or 2.
//!
//! An input that breaks a target is written to the corpus, where every later run tries it first.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod mutate;
mod targets;

use std::collections::HashSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// How long each target is tried, in seconds.
const SECONDS: &str = "BILTEN_FUZZ_SECONDS";
/// The seed of a run, to have it again.
const SEED: &str = "BILTEN_FUZZ_SEED";

/// What came of an input, by a name or number of its kind. Panics where a promise is broken.
type Target = fn(&[u8]) -> u64;

fn corpus(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/corpus")).join(name)
}

fn seeds(name: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<_> = fs::read_dir(corpus(name))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!seeds.is_empty(), "the corpus of {name} is there");
    seeds
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Tries the corpus, then what it becomes.
fn fuzz(name: &str, target: Target) {
    let mut pool = seeds(name);
    let mut seen: HashSet<u64> = pool
        .iter()
        .map(|input| attempt(name, target, input))
        .collect();
    assert!(
        seen.len() > 1,
        "the corpus of {name} has inputs of several kinds"
    );
    let seed = number(SEED).unwrap_or_else(|| fastrand::u64(..));
    println!("{name}: {SEED}={seed}");
    let mut rng = Rng::with_seed(seed);
    let end = Instant::now() + Duration::from_secs(number(SECONDS).unwrap_or(2));
    let mut tries = 0_u64;
    while Instant::now() < end {
        for _ in 0..100 {
            let input = mutate::mutated(&pool, &mut rng);
            if seen.insert(attempt(name, target, &input)) && pool.len() < 2_000 {
                pool.push(input);
            }
            tries += 1;
        }
    }
    println!("{name}: {tries} inputs, {} kinds of outcome", seen.len());
}

fn attempt(name: &str, target: Target, input: &[u8]) -> u64 {
    catch_unwind(AssertUnwindSafe(|| target(input))).unwrap_or_else(|panic| {
        let file = corpus(name).join(format!("broken-{:08x}", crc32fast::hash(input)));
        let kept = fs::write(&file, input);
        let message = crate::error::panic_message(&*panic);
        panic!("{message}; the input is {} ({kept:?})", file.display())
    })
}

macro_rules! fuzzed {
    ($($claim:ident: $target:ident),* $(,)?) => {
        $(#[test]
        fn $claim() {
            fuzz(stringify!($target), targets::$target);
        })*
    };
}

fuzzed! {
    any_envelope_is_read_as_it_was_written_or_is_a_miss: envelope,
    any_json_is_a_value_that_comes_back_or_an_error: json,
    any_message_pack_is_a_value_that_comes_back_or_an_error: message_pack,
    any_frame_keeps_to_its_limit: zstd,
    any_text_is_a_pattern_that_means_the_same_everywhere_or_an_error: pattern,
    any_record_of_the_log_is_a_scope_that_comes_back_or_none: scope,
}

#[cfg(feature = "http")]
fuzzed! {
    any_page_is_a_response_that_comes_back_or_an_error: page,
}
