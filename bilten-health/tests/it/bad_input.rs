//! What cannot be meant is refused, with the name and the remedy.

use crate::doubles::{built, ms, passing};
use bilten_health::{BuildError, Health, Status, checks};
use std::time::Duration;

fn refused(health: Result<Health, BuildError>, parts: &[&str]) {
    let error = health.expect_err("it should be refused").to_string();
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

#[test]
fn names_that_could_break_something_are_refused() {
    refused(
        built([passing("")]),
        &["check name ``", "is empty", "use 1 to 64"],
    );
    refused(built([passing(&"x".repeat(65))]), &["longer than 64"]);
    refused(built([passing(&"x".repeat(100_000))]), &["longer than 64"]);
    for hostile in [
        "a b",
        "a\nb",
        "a\"b",
        "<b>",
        "a*",
        "{a}",
        "ä",
        "a\u{0}",
        "../%2e?x#y",
    ] {
        refused(built([passing(hostile)]), &["do not belong into a name"]);
    }
    let newline = built([passing("a\nb")]).unwrap_err().to_string();
    assert!(!newline.contains('\n'), "the name is escaped: {newline:?}");
    refused(built([passing("a").tags(["x y"])]), &["tag name `x y`"]);
    refused(
        Health::builder()
            .check(passing("a"))
            .group("a b", ["a"])
            .build(),
        &["group name `a b`"],
    );
}

#[test]
fn a_refused_name_is_told_what_it_may_be_made_of() {
    let check = built([passing("")]).unwrap_err().to_string();
    assert_eq!(
        check,
        "check name `` is empty: use 1 to 64 of the characters A-Z a-z 0-9 - _ . : /"
    );
    let group = Health::builder().check(passing("a")).group("a/b", ["a"]);
    assert_eq!(
        group.build().unwrap_err().to_string(),
        "group name `a/b` has a slash in it: use 1 to 64 of the characters A-Z a-z 0-9 - _ . :"
    );
}

// A nanosecond is a mistake for a millisecond: no timer can tell it, and no run can keep it.
#[test]
fn durations_below_a_millisecond_are_refused_with_their_check() {
    let short = Duration::from_nanos(1);
    for (setting, refusal) in [
        ("timeout", built([passing("a").timeout(short)])),
        ("background", built([passing("a").background(short)])),
        (
            "degraded_above",
            built([passing("a").degraded_above(short)]),
        ),
        ("max_age", built([checks::heartbeat("a", short).1])),
        ("max", built([checks::runtime_lag("a", short)])),
    ] {
        refused(refusal, &[&format!("`{setting}` of check `a` is 1ns")]);
    }
    for (setting, set) in [
        ("deadline", Health::builder().deadline(short)),
        ("default_timeout", Health::builder().default_timeout(short)),
    ] {
        refused(set.build(), &[setting, "the whole set is 1ns"]);
    }
    assert!(
        built([passing("a").cache(short)]).is_ok(),
        "each question runs it"
    );
    assert!(built([passing("a").timeout(ms(1)).background(ms(1))]).is_ok());
}

// Without an end these say something nevertheless.
#[tokio::test]
async fn limits_that_are_never_reached_leave_the_rest_of_a_check() {
    let (heartbeat, beat) = checks::heartbeat("beat", Duration::MAX);
    let lag = checks::runtime_lag("lag", Duration::MAX);
    let health = crate::doubles::patient([beat.cache(Duration::ZERO), lag]);
    assert_eq!(health.check().await.status, Status::Unknown);
    heartbeat.beat();
    assert!(health.check().await.healthy);
}

#[test]
fn two_checks_of_one_name_are_refused_whatever_the_case() {
    refused(
        built([passing("db"), passing("DB")]),
        &["`DB`", "twice", "rename"],
    );
}

#[test]
fn durations_that_make_no_sense_are_refused() {
    refused(
        built([passing("a").timeout(Duration::ZERO)]),
        &["`timeout` of check `a` is 0ns", "at least 1 ms"],
    );
    refused(
        built([passing("a").timeout(Duration::MAX)]),
        &["`timeout` of check `a`", "24 h"],
    );
    refused(
        built([passing("a").timeout(ms(901))]),
        &["check `a`", "901ms", "900ms", "raise `deadline`"],
    );
    refused(
        built([passing("a").background(Duration::ZERO)]),
        &["`background` of check `a` is 0ns"],
    );
    refused(built([passing("a").background(Duration::MAX)]), &["24 h"]);
    refused(
        built([passing("a").initial_delay(Duration::MAX)]),
        &["`initial_delay`"],
    );
    refused(
        built([passing("a").cache(Duration::MAX)]),
        &["`cache` of check `a`"],
    );
    refused(
        built([passing("a").degraded_above(Duration::ZERO)]),
        &["`degraded_above`"],
    );
    refused(
        Health::builder().deadline(Duration::ZERO).build(),
        &["`deadline` of the whole set is 0ns"],
    );
    refused(
        Health::builder().default_timeout(Duration::ZERO).build(),
        &["`default_timeout`"],
    );
    refused(
        Health::builder().cache(Duration::MAX).build(),
        &["`cache` of the whole set"],
    );
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    refused(
        built([passing("a").max_staleness(ms(1))]),
        &["`max_staleness` of check `a`", "`background`"],
    );
    let ten = Duration::from_secs(10);
    refused(
        built([passing("a").background(ten).max_staleness(ten)]),
        &["check `a`", "10s", "three times"],
    );
    // A tenth of jitter and a run of 500 ms come on top of the interval.
    let second = |staleness| {
        built([passing("a")
            .background(ms(1000))
            .max_staleness(ms(staleness))])
    };
    for staleness in [1001, 1100, 1599] {
        refused(second(staleness), &["1s", "1.6s"]);
    }
    assert!(second(1600).is_ok());
    refused(
        built([passing("a").degraded_above(ms(500))]),
        &["`degraded_above` of check `a`", "500ms", "shorter"],
    );
    assert!(built([passing("a").degraded_above(ms(500)).timeout(ms(501))]).is_ok());
}

#[test]
fn limits_that_no_run_can_keep_are_refused() {
    let zero = Duration::ZERO;
    refused(
        built([checks::heartbeat("beat", zero).1.in_liveness()]),
        &["`max_age` of check `beat` is 0ns", "never be up"],
    );
    refused(
        built([checks::runtime_lag("lag", zero).in_liveness()]),
        &["`max` of check `lag` is 0ns", "100 ms"],
    );
    let napping = |timeout| built([checks::runtime_lag("lag", ms(300)).timeout(ms(timeout))]);
    refused(napping(20), &["`timeout` of check `lag` is 20ms", "sleeps"]);
    assert!(napping(100).is_ok());
    #[cfg(feature = "memory")]
    refused(
        built([checks::memory("rss", 0).in_liveness()]),
        &["`max_bytes` of check `rss` is zero"],
    );
}

#[cfg(all(feature = "net", feature = "disk"))]
#[test]
fn targets_that_are_none_are_refused() {
    refused(
        built([checks::dns("names", "")]),
        &["check `names`", "has no host"],
    );
    refused(
        built([checks::dns("names", "http://bob:hunter2@h")]),
        &["http://***@h", "a host name alone"],
    );
    let endless = built([checks::tcp("smtp", format!("{}:25", "x".repeat(100_000)))]);
    let message = endless.unwrap_err().to_string();
    assert!(
        message.len() < 2048 && message.contains("longer than 253"),
        "{message}"
    );
    refused(built([checks::tcp("smtp", "h:0")]), &["from 1 to 65535"]);
    refused(
        built([checks::disk("data", "", 1)]),
        &["check `data`", "is empty"],
    );
    refused(built([checks::disk("data", "/a\0b", 1)]), &["has a NUL"]);
}

#[test]
fn a_refusal_tells_no_password_and_has_an_end() {
    const URL: &str = "postgres://app:hunter2@db/shop";
    let group = |name, member: &str| Health::builder().check(passing("a")).group(name, [member]);
    let long = "x".repeat(1 << 20);
    for refusal in [
        built([passing(URL)]),
        built([passing("a").tags([URL])]),
        group(URL, "a").build(),
        group("edge", URL).build(),
        group("edge", &long).build(),
        built([passing(&long)]),
    ] {
        let message = refusal.unwrap_err().to_string();
        assert!(!message.contains("hunter2"), "{message}");
        assert!(message.len() < 300, "{} bytes", message.len());
    }
    assert!(!format!("{:?}", passing(URL)).contains("hunter2"));
}

#[test]
fn a_check_that_leaves_the_process_is_refused_in_liveness() {
    refused(
        built([passing("db").in_liveness()]),
        &["check `db`", "restart every instance", "in_readiness"],
    );
    assert!(built([passing("db").in_liveness().allow_external_liveness()]).is_ok());
    assert!(built([passing("loop").local().in_liveness()]).is_ok());
    assert!(built([passing("friend").local().peer().in_liveness()]).is_err());
}

#[test]
fn groups_that_cannot_work_are_refused() {
    let with = |name, members: &[&str]| {
        Health::builder()
            .check(passing("a"))
            .group(name, members.iter().map(ToString::to_string))
            .build()
    };
    refused(
        with("edge", &["b"]),
        &["group `edge`", "check `b`", "not registered"],
    );
    refused(with("edge", &[]), &["group `edge`", "always be up"]);
    refused(
        with("readiness", &["a"]),
        &["group `readiness` exists already"],
    );
    let twice = Health::builder()
        .check(passing("a"))
        .group("edge", ["a"])
        .group("edge", ["a"])
        .build();
    refused(twice, &["group `edge` exists already"]);
    refused(
        with("Readiness", &["a"]),
        &["group `Readiness` exists already"],
    );
    for name in ["..", ".", "edge/eu", "/"] {
        refused(with(name, &["a"]), &["group name", name]);
    }
    refused(with("", &["a"]), &["group name ``", "is empty"]);
    refused(with("edge", &["b\n\u{1b}[31m"]), &[r"b\n\u{1b}[31m"]);
}
