//! What becomes of credentials wherever they stand.

use super::{LEFT_OUT, WINDOW, redact, redact_value};
use serde_json::{Value, json};

#[test]
fn credentials_never_survive_however_nested() {
    let value = json!({
        "url": "db://u:hunter2@h",
        "nodes": [{ "reason": "password=hunter2" }, ["redis://:hunter2@h"]],
        "dbPassword": "hunter2",
        "api-key": 4711,
        "secret": { "any": ["hunter2"] },
        "token": null,
        "tokens": 3,
        "password_expires": "in 3 days",
        "db://u:hunter2@h": 1,
        "env": [{ "name": "DB_PASSWORD", "value": "hunter2" }, { "name": "HOST", "value": "db" }],
    });
    let masked = json!({
        "url": "db://***@h",
        "nodes": [{ "reason": "password=***" }, ["redis://***@h"]],
        "dbPassword": "***",
        "api-key": "***",
        "secret": "***",
        "token": null,
        "tokens": 3,
        "password_expires": "in 3 days",
        "db://***@h": 1,
        "env": [{ "name": "DB_PASSWORD", "value": "***" }, { "name": "HOST", "value": "db" }],
    });
    assert_eq!(redact_value("config", value), masked);
    assert_eq!(redact_value("password", json!(["hunter2"])), json!("***"));
    let deep = (0..500).fold(json!("hunter2"), |inner, _| json!([inner]));
    assert!(!redact_value("deep", deep).to_string().contains("hunter2"));
    assert_eq!(redact_value("lag_ms", Value::from(1.5)), json!(1.5));
}

#[test]
fn credentials_never_survive() {
    let cases = [
        (
            "cannot reach postgres://bob:hunter2@db:5432/x",
            "cannot reach postgres://***@db:5432/x",
        ),
        ("redis://:p@ss/w@rd@host:1", "redis://***@host:1"),
        (
            "two http://a:b@c and http://d:e@f",
            "two http://***@c and http://***@f",
        ),
        ("http://plain/path", "http://plain/path"),
        (
            "host=db password=hunter2 user=x",
            "host=db password=*** user=x",
        ),
        ("PASSWORD = 'a b' x", "PASSWORD = *** x"),
        (r#"{"token":"abc","n":1}"#, r#"{"token":***,"n":1}"#),
        ("x?api_key=abc&y=2", "x?api_key=***&y=2"),
        (
            "password authentication failed",
            "password authentication failed",
        ),
        ("secret=", "secret="),
        (
            "Authorization: Bearer abc.def.0123456789, x",
            "Authorization: Bearer ***, x",
        ),
        ("bob:hunter2@tcp(db:3306)/shop", "***@tcp(db:3306)/shop"),
        ("to 'bob:h,(2@db' or bob@db", "to '***@db' or bob@db"),
        ("a bearer token is wanted", "a bearer token is wanted"),
        ("x-api-key: abc", "x-api-key: ***"),
    ];
    for (input, expected) in cases {
        assert_eq!(redact(input), expected, "{input}");
    }
}

#[test]
fn no_form_of_a_password_survives() {
    let texts = [
        "no route to postgres://app:hunt'er2@db/shop",
        "no route to postgres://app:hunt\"er2@db/shop",
        "no route to postgres://app:hunt<er2@db/shop",
        "no route to postgres://app:hunt er2@db/shop",
        "no route to 'redis://:hunt er2@db:1'",
        "app:hunt'er2@tcp(db:3306)/shop",
        "password=hunt,er2",
        "password=hunt&er2 user=x",
        "password=hunt)er2",
        "password=hunt;er2",
        "password=hunt er2",
        "password: hunt er2",
        "password = hunt, er2; no",
        "token=correct hunt er2 staple",
        "{password: hunt er2}",
        "cannot log in (password=hunt er2) at db",
        r"password='hunt\'er2x'",
        r#"password="hunt\"er2""#,
        "password='hunt''er2'",
        r#"password: Some("hunt er2")"#,
        r#"passwords: ["hunt", "er2"]"#,
        r#"{\"password\":\"hunt er2\"}"#,
        "password1=hunter2",
        "Authorization: Basic aHVudDplcjI=",
        "Authorization: hunt er2",
        r#"{"authorization": "Basic hunter2"}"#,
        r#"{"cookie": "sid=hunter2"}"#,
        "Proxy-Authorization: Digest a=\"hunt\", b=\"er2\"",
        "Cookie: sid=hunt; x=er2",
        "Set-Cookie: sid=hunter2",
        "pass=hunter2",
        "dbPass=hunter2",
        "secret_key=hunter2",
        "SecretKey: hunter2",
        "private_key=hunter2",
        "credential=hunter2",
        r#"password => "hunt er2""#,
        "ALTER USER bob PASSWORD 'hunt er2'",
        "CREATE USER bob IDENTIFIED BY 'hunt er2'",
        "IDENTIFIED WITH caching_sha2_password BY 'hunter2'",
        "AUTH default hunter2",
        "AUTH hunter2",
        "Bearer hunter",
        "mysqldump --password hunter2",
        r#"["--db-password", "hunter2"]"#,
    ];
    for text in texts {
        let out = redact(text);
        let told = out.contains("hunt") || out.contains("er2") || out.contains("aHVu");
        assert!(!told && out.contains("***"), "{text} -> {out}");
    }
}

#[test]
fn plain_words_stay() {
    for text in [
        "http://db:5432 failed, ask bob@example.com",
        "http://[::1]:80/ failed, ask bob@example.com",
        "tokens: 3 left",
        "Bearer token is missing",
        "Basic authentication failed",
        "NOAUTH Authentication required.",
        "the compass: north",
        r#"password authentication failed for user "bob""#,
        r#"{"user":"a","mail":"bob@x"}"#,
    ] {
        assert_eq!(redact(text), text);
    }
    for (text, masked) in [
        ("Cookie: sid=x\r\nhost: db", "Cookie: ***  host: db"),
        ("password=a b\nhost: db", "password=*** host: db"),
        (
            "cannot log in (password=a b) at db",
            "cannot log in (password=***) at db",
        ),
        (
            "password=a b user=c failed: gone",
            "password=*** user=c failed: gone",
        ),
        (
            "\"GET /x?token=a&y=2 HTTP/1.1\" failed",
            "\"GET /x?token=***&y=2 HTTP/1.1\" failed",
        ),
        (
            "Config { password: a b, host: db }",
            "Config { password: ***, host: db }",
        ),
    ] {
        assert_eq!(redact(text), masked);
    }
}

#[test]
fn details_are_masked_by_their_names() {
    for name in [
        "passwords",
        "secret_key",
        "SecretKey",
        "authorization",
        "pass",
        "db_pass",
        "credentials",
        "password ",
        "password1",
        "tokens",
        "private-key",
        "set-cookie",
        "auth",
        "basic_auth",
        "bearer",
        "jwt",
        "userJwt",
        "sid",
        "sessionid",
        "session_id",
        "sig",
        "X-Amz-Signature",
        "pin",
        "card_pin",
        "otp",
        "dsn",
        "connection_string",
        "ConnectionStrings",
        "AccountKey",
        "passwordHash",
        "password_digest",
        "token-salt",
        "salt",
        "psk",
    ] {
        assert_eq!(
            redact_value(name, json!(["hunter2"])),
            json!("***"),
            "{name}"
        );
    }
    for name in [
        "compass",
        "password_expires",
        "passed",
        "key",
        "authorized",
        "author",
        "pinned",
        "spin",
        "signal",
        "design",
        "inside",
        "laptop",
        "session",
        "connections",
        "password_hash_algorithm",
        "hash",
        "compasshash",
        "saltwater",
    ] {
        assert_eq!(redact_value(name, json!("x")), json!("x"), "{name}");
    }
    for (command, masked) in [
        (
            json!(["db", "--password", "x", "y"]),
            json!(["db", "--password", "***", "y"]),
        ),
        (
            json!(["redis-cli", "-a", "x", "ping"]),
            json!(["redis-cli", "-a", "***", "ping"]),
        ),
        (
            json!(["CONFIG", "SET", "requirepass", "x"]),
            json!(["CONFIG", "SET", "requirepass", "***"]),
        ),
        (
            json!(["curl", "-u", "bob:x", "y"]),
            json!(["curl", "-u", "***", "y"]),
        ),
        (json!(["mysql", "-p", "x"]), json!(["mysql", "-p", "***"])),
        (json!(["password", "x"]), json!(["password", "***"])),
        (
            json!([["Authorization", "x"], ["Host", "y"]]),
            json!([["Authorization", "***"], ["Host", "y"]]),
        ),
        (json!(["password", "x", "y"]), json!(["password", "x", "y"])),
        (json!(["AUTH", "x"]), json!(["AUTH", "***"])),
        (
            json!(["HELLO", "3", "AUTH", "a", "x", "y"]),
            json!(["HELLO", "3", "AUTH", "***", "***", "y"]),
        ),
        (json!(["sqlcmd", "-P", "x"]), json!(["sqlcmd", "-P", "***"])),
        (
            json!(["ssh", "-p", "22", "y"]),
            json!(["ssh", "-p", "22", "y"]),
        ),
    ] {
        assert_eq!(redact_value("command", command), masked);
    }
}

#[test]
fn long_and_strange_text_is_cut_and_flattened() {
    let long = redact(&"ä".repeat(100_000));
    assert!(long.len() < 1030 && long.ends_with('…'));
    assert_eq!(redact("a\r\nb\u{1b}[31m"), "a  b [31m");
    let turned = "a\u{202e}b\u{2028}c\u{2029}d\u{2066}e\u{200f}f\u{61c}g";
    assert_eq!(redact(turned), "a b c d e f g");
    assert_eq!(redact("naïve \u{2026} שלום"), "naïve \u{2026} שלום");
    let hidden = redact(&format!(
        "{}postgres://u:{}@h",
        " ".repeat(1000),
        "p".repeat(200)
    ));
    assert!(
        !hidden.contains("ppp"),
        "the cut must not free the password"
    );
}

#[test]
fn a_login_that_the_window_cuts_is_not_shown() {
    // What comes first shrinks to three stars, so that the end of the window is within what is shown.
    for first in WINDOW - 100..WINDOW {
        for between in [" ", "\n", "&url="] {
            let first = "x".repeat(first);
            let text = format!("password={first}{between}postgres://app:S3cr3tXyz0S3cr3tXyz0@db/x");
            let shown = redact(&text);
            assert!(!shown.contains("S3cr"), "{shown}");
            assert_eq!(shown.ends_with(LEFT_OUT), text.len() > WINDOW, "{shown}");
        }
    }
    let whole = redact(&"{\"a\":1}".repeat(2_000));
    assert!(whole.len() > 1_000, "a text without blanks is shown");
}

proptest::proptest! {
    #[test]
    fn any_text_gives_a_bounded_text(text in ".{0,400}") {
        proptest::prop_assert!(redact(&text).len() <= 1030);
    }

    #[test]
    fn any_password_in_a_url_is_masked(pw in "[a-z0-9:@/?#%]{8,20}") {
        let out = redact(&format!("failed: db://user:{pw}@host/name"));
        proptest::prop_assert!(!out.contains(&pw), "{out}");
    }

    #[test]
    fn any_value_of_a_secret_has_an_end(value in ".{0,60}", sign in "[=: >']{0,3}") {
        let _ = redact(&format!("password{sign}{value}"));
        let _ = redact(&format!("--token{sign}{value} Authorization: {value} AUTH {value}"));
    }
}
