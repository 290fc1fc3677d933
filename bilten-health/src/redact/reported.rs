//! What users of other programs have reported, or may: errors in their own words, with a secret in them and without.

use super::{may_hold_a_secret, redact};

/// What comes in, and what may be seen of it.
const SHAPES: &[(&str, &str)] = &[
    // Names that end in `pass`
    ("DBPASS=hunterhorse", "DBPASS=***"),
    ("dbpass=hunterhorse", "dbpass=***"),
    ("userpass=hunterhorse user=a", "userpass=*** user=a"),
    ("smtppass: hunterhorse", "smtppass: ***"),
    ("SSHPASS=hunterhorse ssh db", "SSHPASS=***"),
    (r#"{"dbpass":"hunterhorse"}"#, r#"{"dbpass":***}"#),
    // Command lines
    (
        "keytool -storepass hunterhorse -keypass hunterhorse -list",
        "keytool -storepass *** -keypass *** -list",
    ),
    (
        "keytool -deststorepass hunterhorse",
        "keytool -deststorepass ***",
    ),
    (
        "ldapwhoami -x -D cn=admin -w hunterhorse",
        "ldapwhoami -x -D cn=admin -w ***",
    ),
    ("cqlsh -u app -p hunterhorse h", "cqlsh -u app -p *** h"),
    (
        "MIGRATE h 6379 k 0 5000 AUTH2 app hunterhorse",
        "MIGRATE h 6379 k 0 5000 AUTH2 ***",
    ),
    // Headers
    ("DD-APPLICATION-KEY: hunterhorse", "DD-APPLICATION-KEY: ***"),
    ("X-ClickHouse-Key: hunterhorse", "X-ClickHouse-Key: ***"),
    ("x-acme-access-key=hunterhorse", "x-acme-access-key=***"),
    // No sign
    (
        "https://api.telegram.org/bot123456789:AAEhunterXyzAAEhunterXyzAAEhunter12/getMe failed",
        "https://api.telegram.org/bot123456789:***/getMe failed",
    ),
    (
        "API key Hunter2XyzHunter2XyzHunter2 is invalid",
        "API key *** is invalid",
    ),
    ("bad token Hunter2XyzHunter2Xyz", "bad token ***"),
    ("bad token <Hunter2XyzHunter2Xyz>", "bad token <***>"),
    // What is told of a secret does not hide the next one
    (
        "WHERE token = $1 AND password = 'hunter'",
        "WHERE token = $1 AND password = ***",
    ),
    ("password = $2y$10$hunterhunter", "password = ***"),
    ("password=?hunter", "password=***"),
    (
        "token: not set, dbpass=hunter",
        "token: not set, dbpass=***",
    ),
    ("secret \"hunter\" at db", "secret *** at db"),
    ("token \"hunter\" not found", "token *** not found"),
    ("password=expired-hunter", "password=***"),
    ("pageToken=hunter2", "pageToken=***"),
    ("pass: 12hunter", "pass: ***"),
    ("auth=hunter", "auth=***"),
    ("app:hunter@17.example", "***@17.example"),
    ("amqp://guest:hunter@mq", "amqp://***@mq"),
];

/// Nothing is secret in these, and all of it is needed.
const PLAIN: &[&str] = &[
    // Files
    "open /var/run/secrets/kubernetes.io/serviceaccount/token: no such file or directory",
    "read '/var/run/secrets/kubernetes.io/serviceaccount/token': No such file or directory (os error 2)",
    "open /run/secrets/db_password: permission denied",
    "/etc/shop/token: Permission denied (os error 13)",
    "/etc/shop/token: Is a directory (os error 21)",
    // Variables
    "DB_PASSWORD: NotPresent",
    "DB_PASSWORD: environment variable not found",
    // Kubernetes
    "secret \"db\" not found",
    "secrets \"db-credentials\" is forbidden: User \"system:serviceaccount:shop:default\" cannot get resource \"secrets\" in API group",
    "MountVolume.SetUp failed for volume \"api-token\": timed out",
    // Tokens and passwords that are no good
    "ExpiredToken: The provided token has expired.",
    "access token: expired 5 minutes ago",
    "credentials: expired 5 minutes ago",
    "password: cannot be empty",
    "jwt: malformed",
    "jwt=invalid",
    "token refresh: timed out after 500 ms",
    "token endpoint: connection refused",
    // Statements
    "error occurred while decoding column \"secret\": mismatched types",
    "SELECT id FROM sessions WHERE token = $1 AND expires > now()",
    "UPDATE users SET password = ? WHERE id = ?",
    "UPDATE users SET password = %s, salt = %s WHERE id = 3",
    // Parsers
    "Unexpected token '<', \"<!DOCTYPE \"... is not valid JSON",
    "syntax error, unexpected token \"]\"",
    "invalid token: line 3",
    // Numbers and switches
    "pass: 12, fail: 3",
    "auth=off",
    "dsn=empty",
    "GET /items?pageToken=2&size=3 failed",
    "bypass=true lowpass=20 multipass: no",
    // Nodes, users, messages
    "3f2ab1c9d0 127.0.0.1:7001@17001 master - 0 1700000000 2 connected 5461-10922",
    "3f2ab1c9d0 127.0.0.1:7001@17001,node-1 master - 0",
    "amqp://guest@mq:5672: refused",
    "key=orders partition=3 offset=42",
    "partition 3: key=null offset=42",
    "X-Api-Key: missing",
    "X-Cache-Key: orders",
];

#[test]
fn secrets_in_the_errors_of_other_programs_are_masked() {
    let wrong: Vec<_> = SHAPES
        .iter()
        .map(|(text, shown)| (redact(text), *shown))
        .filter(|(found, shown)| found != shown)
        .collect();
    assert!(wrong.is_empty(), "found and expected: {wrong:#?}");
    for (text, shown) in SHAPES {
        assert!(may_hold_a_secret(text), "{text}");
        assert!(!redact(shown).contains("unt"), "{shown}");
        let around = redact(&format!("({text})\n{text}"));
        assert!(
            !around.contains("hunt") && !around.contains("Hunt"),
            "{around}"
        );
    }
}

#[test]
fn errors_that_tell_of_a_secret_stay_readable() {
    let wrong: Vec<_> = PLAIN
        .iter()
        .map(|text| (redact(text), *text))
        .filter(|(found, text)| found != text)
        .collect();
    assert!(wrong.is_empty(), "found and expected: {wrong:#?}");
}
