use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::directives::RequestDirectives;
use super::policy::{Decision, Policy, Refusal, Rules, judge};

const NOW: u64 = 1_000_000_000;

fn rules() -> Rules {
    Rules {
        time_to_live: None,
        stale_while_revalidate: Duration::ZERO,
        stale_if_error: Duration::ZERO,
        revalidate_within: Duration::from_secs(100),
        longest: Duration::from_secs(1000),
        authorized: false,
    }
}

fn map(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn judged(
    rules: &Rules,
    request: &[(&'static str, &str)],
    status: u16,
    response: &[(&'static str, &str)],
) -> Result<Policy, Refusal> {
    let status = StatusCode::from_u16(status).unwrap();
    judge(rules, &map(request), status, &map(response), at(NOW))
}

fn lifetime(response: &[(&'static str, &str)]) -> u64 {
    judged(&rules(), &[], 200, response).unwrap().lifetime
}

#[test]
fn each_reason_not_to_store_is_named() {
    use Refusal::{Authorization, NoLifetime, NoStore, Private, SetCookie, Status};
    let fresh = ("cache-control", "max-age=60");
    let auth = ("authorization", "Bearer x");
    for (request, status, response, expected) in [
        (&[][..], 200, &[fresh][..], None),
        (&[], 404, &[fresh], None),
        (&[], 206, &[fresh], Some(Status)),
        (&[], 304, &[fresh], Some(Status)),
        (&[], 500, &[fresh], Some(Status)),
        (&[], 200, &[], Some(NoLifetime)),
        (&[], 200, &[("cache-control", "public")], Some(NoLifetime)),
        (
            &[],
            200,
            &[("cache-control", "max-age=0")],
            Some(NoLifetime),
        ),
        (
            &[],
            200,
            &[("cache-control", "max-age=0"), ("etag", "\"a\"")],
            None,
        ),
        (&[], 200, &[("cache-control", "no-cache")], Some(NoLifetime)),
        (
            &[],
            200,
            &[("cache-control", "no-cache"), ("etag", "\"a\"")],
            None,
        ),
        (
            &[],
            200,
            &[fresh, ("cache-control", "no-store")],
            Some(NoStore),
        ),
        (
            &[],
            200,
            &[("cache-control", "private, max-age=60")],
            Some(Private),
        ),
        (&[], 200, &[fresh, ("set-cookie", "a=b")], Some(SetCookie)),
        (&[("cookie", "a=b")], 200, &[fresh], None),
        (&[auth], 200, &[fresh], Some(Authorization)),
        (
            &[auth],
            200,
            &[("cache-control", "public, max-age=60")],
            Some(Authorization),
        ),
    ] {
        let found = judged(&rules(), request, status, response).err();
        assert_eq!(found, expected, "{request:?} {status} {response:?}");
    }
}

#[test]
fn a_request_with_credentials_is_stored_where_the_response_allows_it() {
    let rules = Rules {
        authorized: true,
        ..rules()
    };
    let stored = |says| {
        judged(
            &rules,
            &[("authorization", "x")],
            200,
            &[("cache-control", says)],
        )
        .is_ok()
    };
    assert!(!stored("max-age=60"));
    for says in [
        "public, max-age=60",
        "s-maxage=60",
        "must-revalidate, max-age=60",
    ] {
        assert!(stored(says), "{says}");
    }
}

#[test]
fn a_lifetime_of_the_operators_own_is_not_for_users_who_are_known() {
    let rules = Rules {
        time_to_live: Some(Duration::from_secs(5)),
        ..rules()
    };
    assert_eq!(judged(&rules, &[], 200, &[]).unwrap().lifetime, 5);
    assert_eq!(
        judged(&rules, &[("cookie", "session=1")], 200, &[]),
        Err(Refusal::NoLifetime)
    );
    assert_eq!(
        judged(&rules, &[], 200, &[("cache-control", "max-age=9")])
            .unwrap()
            .lifetime,
        9
    );
}

#[test]
fn the_lifetime_comes_from_the_strongest_word() {
    let later = httpdate::fmt_http_date(at(NOW + 30));
    let made = httpdate::fmt_http_date(at(NOW - 10));
    assert_eq!(
        lifetime(&[
            ("cache-control", "s-maxage=1, max-age=2"),
            ("expires", &later)
        ]),
        1
    );
    assert_eq!(
        lifetime(&[("cache-control", "max-age=2"), ("expires", &later)]),
        2
    );
    assert_eq!(lifetime(&[("expires", &later)]), 30);
    assert_eq!(lifetime(&[("expires", &later), ("date", &made)]), 40);
    for past in ["0", "-1", "tomorrow", &made] {
        assert_eq!(lifetime(&[("expires", past), ("etag", "a")]), 0, "{past}");
        let two = [("expires", later.as_str()), ("expires", past)];
        assert_eq!(
            lifetime(&[&two[..], &[("etag", "a")]].concat()),
            0,
            "{past}"
        );
    }
}

#[test]
fn the_age_a_response_brings_along_counts() {
    let made = httpdate::fmt_http_date(at(NOW - 10));
    let future = httpdate::fmt_http_date(at(NOW + 10));
    for (lines, age) in [
        (&[("age", "7")][..], 7),
        (&[("age", "7"), ("date", made.as_str())], 10),
        (&[("age", "70"), ("date", made.as_str())], 70),
        (&[("date", future.as_str())], 0),
        (&[("age", "-7")], 0),
        (&[("age", "old")], 0),
        (&[("age", "7, 9")], 7),
        (&[("age", "7"), ("age", "9")], 7),
    ] {
        let lines = [lines, &[("cache-control", "max-age=600")]].concat();
        assert_eq!(
            judged(&rules(), &[], 200, &lines).unwrap().initial_age,
            age,
            "{lines:?}"
        );
    }
}

#[test]
fn it_is_kept_as_long_as_it_is_of_use() {
    let keep = |says: &str, etag: bool| {
        let policy = judged(
            &rules(),
            &[],
            200,
            &[("cache-control", says), ("etag", "a")],
        )
        .unwrap();
        policy.keep(&rules(), etag).as_secs()
    };
    assert_eq!(keep("max-age=60", false), 60);
    assert_eq!(keep("max-age=60", true), 160);
    assert_eq!(
        keep(
            "max-age=60, stale-while-revalidate=5, stale-if-error=200",
            true
        ),
        260
    );
    assert_eq!(
        keep("max-age=60, must-revalidate, stale-if-error=200", false),
        60
    );
    assert_eq!(keep("no-cache, max-age=60", true), 100);
    assert_eq!(keep("max-age=60, stale-if-error=999999", false), 1000);
}

#[test]
fn each_wish_of_a_request_and_each_age_has_its_decision() {
    use Decision::{Ask, Serve, ServeAndRefresh};
    let policy = Policy {
        lifetime: 60,
        initial_age: 0,
        while_revalidate: 10,
        if_error: 100,
        strict: false,
        always_validate: false,
    };
    let strict = Policy {
        strict: true,
        ..policy
    };
    let no_cache = Policy {
        always_validate: true,
        ..policy
    };
    let wish = |text| RequestDirectives::of(&map(&[("cache-control", text)]));
    for (text, policy, age, expected) in [
        ("", policy, 0, Serve),
        ("", policy, 59, Serve),
        ("", policy, 60, ServeAndRefresh),
        ("", policy, 69, ServeAndRefresh),
        ("", policy, 70, Ask),
        ("", strict, 59, Serve),
        ("", strict, 60, Ask),
        ("", no_cache, 0, Ask),
        ("no-cache", policy, 0, Ask),
        ("max-age=0", policy, 0, Ask),
        ("max-age=5", policy, 5, Serve),
        ("max-age=5", policy, 6, Ask),
        ("min-fresh=10", policy, 50, Serve),
        ("min-fresh=10", policy, 51, Ask),
        ("min-fresh=1", policy, 60, Ask),
        ("max-stale=50", policy, 110, Serve),
        ("max-stale=50", policy, 111, Ask),
        ("max-stale=50", strict, 61, Ask),
    ] {
        let found = policy.decide(&wish(text), age);
        assert_eq!(found, expected, "{text} {policy:?} at {age}");
    }
    assert!(policy.serves_after_error(&wish(""), 159));
    assert!(!policy.serves_after_error(&wish(""), 160));
    assert!(!strict.serves_after_error(&wish(""), 61));
    assert!(!no_cache.serves_after_error(&wish(""), 0));
    assert!(!policy.serves_after_error(&wish("no-cache"), 0));
}

prop_compose! {
    fn policies()(lifetime in 0..200u64, initial_age in 0..200u64, while_revalidate in 0..200u64, if_error in 0..200u64, strict: bool, always_validate: bool) -> Policy {
        Policy { lifetime, initial_age, while_revalidate, if_error, strict, always_validate }
    }
}

prop_compose! {
    fn wishes()(no_cache: bool, max_age in proptest::option::of(0..300u64), min_fresh in proptest::option::of(0..300u64), max_stale in proptest::option::of(0..300u64)) -> RequestDirectives {
        RequestDirectives { no_cache, max_age, min_fresh, max_stale, ..RequestDirectives::default() }
    }
}

proptest! {
    /// What nobody allowed is never served without asking.
    #[test]
    fn nothing_is_served_that_nobody_allowed(policy in policies(), asked in wishes(), age in 0..700u64) {
        let decision = policy.decide(&asked, age);
        let is_fresh = age < policy.lifetime;
        if decision != Decision::Ask {
            prop_assert!(!asked.no_cache && !policy.always_validate);
            prop_assert!(asked.max_age.is_none_or(|limit| age <= limit));
            prop_assert!(is_fresh || !policy.strict);
            prop_assert!(asked.min_fresh.is_none_or(|least| is_fresh && policy.lifetime - age >= least));
            let allowed = policy.while_revalidate.max(asked.max_stale.map_or(0, |limit| limit + 1));
            prop_assert!(is_fresh || age - policy.lifetime < allowed);
        }
        prop_assert!(decision != Decision::ServeAndRefresh || !is_fresh);
        if policy.serves_after_error(&asked, age) {
            prop_assert!(age < policy.lifetime + policy.if_error);
            prop_assert!(!policy.strict && !policy.always_validate && !asked.no_cache);
        }
    }

    /// Growing older never makes a response better.
    #[test]
    fn age_only_takes_away(policy in policies(), asked in wishes(), age in 0..700u64) {
        let rank = |age| match policy.decide(&asked, age) {
            Decision::Serve => 2,
            Decision::ServeAndRefresh => 1,
            Decision::Ask => 0,
        };
        // With `max-stale` a request takes a stale one as it is; that is its own wish.
        prop_assume!(asked.max_stale.is_none());
        prop_assert!(rank(age) >= rank(age + 1));
    }

    #[test]
    fn no_header_at_all_does_harm(says in "[ -~]{0,80}", vary in "[ -~]{0,80}", age in "[ -~]{0,20}", expires in "[ -~]{0,40}") {
        let response = map(&[("cache-control", &says), ("vary", &vary), ("age", &age), ("expires", &expires)]);
        if let Ok(policy) = judge(&rules(), &response, StatusCode::OK, &response, at(NOW)) {
            prop_assert!(!policy.keep(&rules(), true).is_zero());
            prop_assert!(policy.keep(&rules(), true) <= rules().longest);
        }
        let _ = super::vary::Selecting::of(&response, &response);
        let _ = RequestDirectives::of(&response);
    }
}
