//! One table of the shapes in which secrets come, and one of texts that only look like them.

use super::{mask, may_hold_a_secret, redact, weak, without_secrets};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// What comes in, and what may be seen of it.
const SHAPES: &[(&str, &str)] = &[
    // Redis and its command line
    (
        "CONFIG SET requirepass hunter2",
        "CONFIG SET requirepass ***",
    ),
    (
        r#"requirepass "hunt er2" at line 3"#,
        "requirepass *** at line 3",
    ),
    (
        r#"["CONFIG", "SET", "masterauth", "hunter2"]"#,
        r#"["CONFIG", "SET", "masterauth", ***]"#,
    ),
    (
        "sentinel auth-pass main hunter2",
        "sentinel auth-pass main ***",
    ),
    (
        "ACL SETUSER app on >hunter2 ~* +@all",
        "ACL SETUSER app on >*** ~* +@all",
    ),
    (
        r#""ACL" "SETUSER" "app" ">hunter2" "<old2""#,
        r#""ACL" "SETUSER" "app" ">***" "<***""#,
    ),
    (
        "user app on #5e884898da28 ~* +@all",
        "user app on #*** ~* +@all",
    ),
    (
        "redis-cli -h db -a hunter ping",
        "redis-cli -h db -a *** ping",
    ),
    (r#""valkey-cli" "-a" "hunter""#, r#""valkey-cli" "-a" ***"#),
    ("failed: -a hunter2", "failed: -a ***"),
    // Other command lines
    ("mysql -uroot -phunter shop", "mysql -uroot -p*** shop"),
    (
        r#"["mariadb-dump", "-phunter"]"#,
        r#"["mariadb-dump", "-p***"]"#,
    ),
    ("failed: -phunter2", "failed: -p***"),
    ("sshpass -p hunter ssh db", "sshpass -p *** ssh db"),
    ("ldapsearch -w hunter -b dc=x", "ldapsearch -w *** -b dc=x"),
    ("curl -u bob:hunter https://db/", "curl -u *** https://db/"),
    ("curl --user 'bob:hunt er' x", "curl --user *** x"),
    (
        "machine db login bob password hunter",
        "machine db login bob password ***",
    ),
    // Clouds
    (
        "AccountName=shop;AccountKey=hunt+er2/==;EndpointSuffix=core.windows.net",
        "AccountName=shop;AccountKey=***;EndpointSuffix=core.windows.net",
    ),
    (
        "https://x.blob.core.windows.net/c?sv=2022&sig=hunt%2Ber2%3D&se=2026",
        "https://x.blob.core.windows.net/c?sv=2022&sig=***&se=2026",
    ),
    (
        "SharedAccessSignature sr=hub&sig=hunter&se=1&skn=all",
        "SharedAccessSignature sr=hub&sig=***&se=1&skn=all",
    ),
    (
        "Endpoint=sb://x/;SharedAccessKey=hunter=",
        "Endpoint=sb://x/;SharedAccessKey=***",
    ),
    (
        "GET /k?X-Amz-Expires=60&X-Amz-Signature=hunter&x=1",
        "GET /k?X-Amz-Expires=60&X-Amz-Signature=***&x=1",
    ),
    // Sessions and one-time codes
    ("session_id=hunter expired", "session_id=***"),
    ("sessionId: hunter", "sessionId: ***"),
    ("PHPSESSID=hunter; path=/", "PHPSESSID=***; path=/"),
    ("sid=hunter is gone", "sid=*** is gone"),
    (r#"{"sid":"hunter","n":1}"#, r#"{"sid":***,"n":1}"#),
    (r#"{"auth": "hunter", "n": 1}"#, r#"{"auth": ***, "n": 1}"#),
    ("key=hunter not found", "key=*** not found"),
    ("GET /x?key=hunter&y=2", "GET /x?key=***&y=2"),
    ("pin=1234, otp=987654", "pin=***, otp=***"),
    ("pin: 1234", "pin: ***"),
    ("jwt=hunter", "jwt=***"),
    // Values of types, columns, elements
    (
        r#"Config { user: "a", pw: Password("hunt)er") }"#,
        r#"Config { user: "a", pw: Password(***) }"#,
    ),
    ("Secret(hunter) is wrong", "Secret(***) is wrong"),
    (r#"SecretString("hunter")"#, "SecretString(***)"),
    ("USER\tPASSWORD\thunter\tHOST", "USER PASSWORD *** HOST"),
    (
        "<user>bob</user><password>hunt er</password>",
        "<user>bob</user><password>***</password>",
    ),
    (
        r#"<wsse:Password Type="x"><![CDATA[hunter]]></wsse:Password>"#,
        r#"<wsse:Password Type="x">***</wsse:Password>"#,
    ),
    // What is known by itself
    (
        "bad key: -----BEGIN RSA PRIVATE KEY-----\nMIIEhunter\n-----END RSA PRIVATE KEY----- at x",
        "bad key: -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY----- at x",
    ),
    (
        "-----BEGIN PRIVATE KEY-----\nMIIEhunter",
        "-----BEGIN PRIVATE KEY-----***",
    ),
    (
        "eyJhbGciOiJIUzI1NiJ9.eyJodW50ZXIiOjJ9.aHVudGVy is expired",
        "*** is expired",
    ),
    (
        "no access for ghp_hunter2hunter2 to x",
        "no access for ghp_*** to x",
    ),
    ("xoxb-12345-hunter", "xoxb-***"),
    ("AKIAIOSFODNN7EXAMPLE", "AKIA***"),
    ("dckr_pat_hunter2hunter2", "dckr_pat_***"),
    ("lin_api_hunter2hunter2", "lin_api_***"),
    (
        "POST https://hooks.slack.com/services/T0/B0/hunter2 failed",
        "POST https://hooks.slack.com/services/*** failed",
    ),
    (
        "https://discord.com/api/webhooks/1/hunter2",
        "https://discord.com/api/webhooks/***",
    ),
    (
        "Incorrect API key provided: hunter2",
        "Incorrect API key provided: ***",
    ),
    (
        r#"<add key="password" value="hunter2"/>"#,
        r#"<add key="password" value=***/>"#,
    ),
    (
        "http://bob:hunter2@h/@scope and https://bob:hunter2@h",
        "http://***@scope and https://***@h",
    ),
    // Longer names
    ("SECRET_KEY_BASE=hunter2", "SECRET_KEY_BASE=***"),
    ("TOKEN_PROD=hunter2", "TOKEN_PROD=***"),
    ("PASSWORD_1=hunter2", "PASSWORD_1=***"),
    ("APP_SECRET_V2=hunter2", "APP_SECRET_V2=***"),
    ("db_password_ro: hunter2", "db_password_ro: ***"),
    ("signing-key: hunter2", "signing-key: ***"),
    ("api key: hunter2", "api key: ***"),
    ("access key: hunter2", "access key: ***"),
    (
        "Ocp-Apim-Subscription-Key: hunter2",
        "Ocp-Apim-Subscription-Key: ***",
    ),
    ("pre_shared_key=hunter2", "pre_shared_key=***"),
    ("psk=hunter2, hmac=hunter2", "psk=***, hmac=***"),
    // Within another URL
    (
        "GET /go?to=postgres%3A%2F%2Fbob%3Ahunter2%40db%2Fshop",
        "GET /go?to=postgres%3A%2F%2F***%40db%2Fshop",
    ),
    (
        "amqp%253A%252F%252Fbob%253Ahunter2%2540db",
        "amqp%253A%252F%252F***%2540db",
    ),
];

/// Nothing is secret in these, and all of it is needed.
const PLAIN: &[&str] = &[
    "keyspace shop does not exist",
    "the task is pinned to core 3",
    "monkey=3 donkey=4",
    "signal=9 signals=2",
    "spin=1 laptop=2 inside=3",
    "cannot read -path",
    "unknown option -pthread",
    "ssh -p 5432 db and docker -p8080:80",
    "ls -a file and tar -w x",
    "docker run -u 1000:1000 shop",
    "for user bob on <db-1>",
    "primary_key=id, cache_key=users",
    "Key (id)=(5) already exists",
    "key: users:42 not found",
    "auth: failed for bob",
    "authenticated=true author=x",
    "invalid signature: too short",
    "signature mismatch",
    "token(s) expired, Token(s) left: none",
    "password (optional)",
    "password authentication failed",
    "requirepass is not set",
    "secretary: bob",
    "https%3A%2F%2Fexample.com%2Fx%3Fmail%3Dbob%40example.com",
    "<user>bob</user><host>db</host>",
    "-----BEGIN CERTIFICATE----- is missing",
    "npm_config_cache and hf_hub",
    "task-sk-1 failed",
    "a.b.c and eyJ",
    "assigned=3 design=4 resigned",
    "opened the dsn file",
    "Access denied for user 'app' (using password: YES)",
    "(using password: NO)",
    "ask mailto:joe@example.com",
    "GET http://host:8080/path@v2 failed",
    "https://h/@scope/pkg is gone",
    "http://h/a?x=1&y=@z",
    "password_test failed, token_bucket is full",
    "no api key given, no access key found",
    r#"<add key="host" value="db"/>"#,
    "10.0.0.1:5432 refused, 3 of 5 pings lost",
];

#[test]
fn each_shape_of_a_secret_is_masked_and_the_rest_stays() {
    let shapes = SHAPES.iter().chain(weak::SHAPES);
    let wrong: Vec<_> = shapes
        .map(|(text, shown)| (redact(text), *shown))
        .filter(|(found, shown)| found != shown)
        .collect();
    assert!(wrong.is_empty(), "found and expected: {wrong:#?}");
}

#[test]
fn what_is_masked_stays_masked_wherever_it_stands() {
    for (text, _) in SHAPES.iter().chain(weak::SHAPES) {
        for around in [
            format!("no: {text}"),
            format!("({text})"),
            format!("ä\u{1f511} {text} ä"),
            format!("{text}\n{text}"),
            redact(text),
        ] {
            let shown = redact(&around);
            for secret in [
                "hunt", "er2", "MIIE", "1234", "9876", "5e88", "old2", "IOSF", "aHVu",
            ] {
                assert!(!shown.contains(secret), "{around} -> {shown}");
            }
        }
    }
}

#[test]
fn ordinary_texts_stay_readable() {
    let plain = PLAIN.iter().chain(weak::PLAIN);
    let wrong: Vec<_> = plain
        .map(|text| (redact(text), *text))
        .filter(|(found, text)| found != text)
        .collect();
    assert!(wrong.is_empty(), "found and expected: {wrong:#?}");
}

/// Pieces that make a reader look far ahead, or far back, when they come again and again.
const HOSTILE: &[&str] = &[
    "password=",
    "password=(",
    "token: [",
    "pass=\"",
    "secret'",
    "x://",
    "x://:",
    "x://a:b",
    "a:b@",
    "@",
    "cookie: x\n",
    "authorization: \"",
    "Bearer ",
    "basic ",
    "AUTH ",
    "AUTH a",
    "--token ",
    "--token=\"",
    "-p",
    "-a \"",
    "-u \"a:",
    "mysql -p",
    "requirepass ",
    "login x password ",
    "auth-pass ",
    "SETUSER >",
    "<password>",
    "<password ",
    "<a><![CDATA[",
    "<p><![CDATA[<a>x</a>",
    "-----BEGIN PRIVATE KEY-----",
    "eyJaa.",
    "ghp_aaaa",
    "sk-",
    ":%2f%2f",
    "%3a%2f%2fa",
    "%25",
    "sig=",
    "sig=\"",
    "key='",
    "pin : ",
    "password   ",
    "password\t",
    "password=a   ",
    "password=a,",
    "password=a &b",
    "password_prod",
    "token used: ",
    "1//0",
    "hooks.slack.com/services/",
    "key=\"password\" value=\"",
    "123456789:",
    "(",
    "\"",
    "\\\"",
    "password\\\"",
    " ",
    "\n",
    "ä",
    "Password(",
    "Password(\"",
    "Secret(\"(",
    "password]: must be ",
    "password: missing ",
    "token: ;",
    "password=\"a\" ",
    "password=''a",
    "cookie: not set ",
    "authorization: missing ",
    "AUTH \"",
    "AUTH\",",
    "set password for a ",
    "set password for a = 'b\\",
    "beginning with: ",
    ", with args beginning with: ",
    "user a password ",
    "net use a ",
    "htpasswd -b a ",
    "jdbc:oracle:a:b/",
    "password%3D",
    "x-a-key: ",
    "x-a-",
    "dbpass",
    "dbpass=",
    "token aaaaaaaaaaaaaaa1",
    "secret \"a\" ",
    "pass: 1",
    "token = $1 ",
    "a:b@1700",
    "a%3D",
    "%3a%22",
    "(\"password\", \"",
    "(\"password\",",
    "[a, (",
    "password is ",
    "password for a",
    "?code=a1",
    "code: ",
    "key: ",
    "unauthorized key: a ",
    "cache key=",
    "digest response=\"",
    "$2b$",
    "{SSHA}",
];

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn no_text_made_of_hostile_pieces_breaks_anything(
        pieces in proptest::collection::vec(proptest::sample::select(HOSTILE), 1..200),
    ) {
        proptest::prop_assert!(redact(&pieces.concat()).len() <= 1030);
    }

    #[test]
    fn what_the_first_look_lets_pass_has_nothing_to_mask(
        piece in proptest::sample::select(HOSTILE),
        cut in 0..40usize,
        value in "[A-Za-z0-9 ='\":,@%.-]{0,24}",
    ) {
        let cut = piece.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(piece.len());
        let text = format!("{}{value}", &piece[..cut]);
        if !may_hold_a_secret(&text) {
            proptest::prop_assert_eq!(without_secrets(text.clone()), text);
        }
    }
}

#[test]
fn the_first_look_stops_at_each_secret() {
    for (text, _) in SHAPES.iter().chain(weak::SHAPES) {
        assert!(may_hold_a_secret(text), "{text}");
    }
}

// Most errors are like this: what they cost is what many failing checks cost.
#[test]
fn an_ordinary_text_costs_a_part_of_one_that_has_to_be_searched() {
    let plain =
        "connection to 10.0.0.5:6379 lost: timed out after 500 ms, attempt 3 of 5; ".repeat(100);
    let searched = format!("{plain} pass");
    assert!(!may_hold_a_secret(&plain) && may_hold_a_secret(&searched));
    in_the_end("ordinary", || {
        let (plain, searched) = (time(|| mask(&plain)), time(|| mask(&searched)));
        (searched / 3, plain)
    });
}

// Told apart without a stopwatch: 16 times the text takes 16 times as long, or 256 times.
#[test]
fn a_text_sixteen_times_as_long_takes_no_sixty_times_as_long() {
    for piece in HOSTILE {
        let text = |bytes: usize| piece.repeat(bytes / piece.len());
        let (short, long) = (text(1 << 10), text(16 << 10));
        in_the_end(piece, || {
            let (short, long) = (time(|| mask(&short)), time(|| mask(&long)));
            (short * 60 + Duration::from_millis(20), long)
        });
    }
}

#[test]
fn a_megabyte_of_anything_is_cut_before_it_is_read() {
    for piece in HOSTILE.iter().step_by(5) {
        let text = |bytes: usize| piece.repeat(bytes / piece.len());
        let (window, all) = (text(8 << 10), text(1 << 20));
        in_the_end(piece, || {
            let (window, all) = (time(|| redact(&window)), time(|| redact(&all)));
            (window * 10 + Duration::from_millis(20), all)
        });
    }
}

/// What it takes of this thread alone: what else the machine does meanwhile is no part of it.
fn time(work: impl Fn() -> String) -> Duration {
    let spent = || {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(spent).unwrap_or_default()
    };
    let begun = spent();
    std::hint::black_box(work());
    spent().saturating_sub(begun)
}

/// One of a few tries keeps its limit.
fn in_the_end(piece: &str, measure: impl Fn() -> (Duration, Duration)) {
    let tries: Vec<_> = (0..5)
        .map(|_| measure())
        .take_while(|(limit, took)| took > limit)
        .collect();
    assert!(tries.len() < 5, "{piece:?}: limits and times {tries:?}");
}
