//! The rest of the two tables: secrets behind a weak sign, and what drivers say that has to stay as it is.

/// What comes in, and what may be seen of it.
pub(super) const SHAPES: &[(&str, &str)] = &[
    // SQL and command lines
    (
        "SET PASSWORD FOR bob = 'hunt''er2'",
        "SET PASSWORD FOR bob = ***",
    ),
    (
        "set password for 'bob'@'%' to \"hunter2\"",
        "set password for 'bob'@'%' to ***",
    ),
    ("sqlcmd -U sa -P hunter", "sqlcmd -U sa -P ***"),
    ("docker login -u a -p hunter", "docker login -u a -p ***"),
    ("htpasswd -b users bob hunter", "htpasswd -b users bob ***"),
    (
        r"net use z: \\h\s /user:bob hunter",
        r"net use z: \\h\s /user:bob ***",
    ),
    ("slapd.conf: bindpw hunter", "slapd.conf: bindpw ***"),
    (
        "mqtt: username app password hunter2",
        "mqtt: username app password ***",
    ),
    ("jdbc:oracle:thin:scott/hunter@db:1521", "***@db:1521"),
    ("sqlplus -s scott/hunter@db", "sqlplus -s scott/***@db"),
    // Redis, to a client of a later version or with a command renamed
    (
        "ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `app`, `hunter2`, ",
        "ERR unknown command `HELLO`, with args beginning with: ***",
    ),
    (
        r#"["HELLO", "3", "AUTH", "app", "hunter"]"#,
        r#"["HELLO", "3", "AUTH", ***]"#,
    ),
    (r#""AUTH" "hunter""#, r#""AUTH" ***"#),
    // Prose and brackets, where the value tells
    ("Password (hunter2)", "Password (***)"),
    ("(password, hunter2)", "(password, ***)"),
    ("the password is hunter2.", "the password is ***"),
    (
        "Password for user app: hunter2",
        "Password for user app: ***",
    ),
    // Tuples and lists, as `{:?}` writes them
    (
        r#"[("user", "app"), ("password", "hunter")]"#,
        r#"[("user", "app"), ("password", ***)]"#,
    ),
    (
        r#"("password", Some("hunter"))"#,
        r#"("password", Some(***))"#,
    ),
    (
        r#"HeaderMap [("authorization", "hunter")]"#,
        r#"HeaderMap [("authorization", ***)]"#,
    ),
    (r#"{\"token\", \"hunter\"}"#, r#"{\"token\", ***}"#),
    // In pieces
    (r#"password=""hunter at db"#, "password=*** at db"),
    ("password='a' 'hunter', b", "password=***, b"),
    // Logins elsewhere
    (
        "GET /cb?code=hunt-er2xQ9&state=1",
        "GET /cb?code=***&state=1",
    ),
    ("code=hunt4erXQ9 was used", "code=*** was used"),
    (
        r#"Digest username="a", nonce="n", response="hunter", qop=auth"#,
        r#"Digest username="a", nonce="n", response=***, qop=auth"#,
    ),
    // Stored passwords
    ("salt=hunter, rounds=4", "salt=***, rounds=4"),
    ("passwordHash: hunter", "passwordHash: ***"),
    ("password_digest=hunter", "password_digest=***"),
    ("row (7, $2b$10$hunter2hunter2)", "row (7, $2b$***)"),
    ("SCRAM-SHA-256$4096:hunter==$x:y", "SCRAM-SHA-256$***"),
    // Encoded pairs
    (
        "GET /go?to=password%3Dhunter%26x%3D1",
        "GET /go?to=password%3D***%26x%3D1",
    ),
    (
        "https://h/cb?to=https%3A%2F%2Fh%2F%3Ftoken%3Dhunter",
        "https://h/cb?to=https%3A%2F%2Fh%2F%3Ftoken%3D***",
    ),
    (
        "body=%7B%22password%22%3A%22hunt%20er2%22%7D",
        "body=%7B%22password%22%3A%22***%22%7D",
    ),
    ("token%253Dhunter", "token%253D***"),
    // A key among words of those who let somebody in or not
    ("key: Hunt2erXQ9", "key: ***"),
    ("unauthorized, key: hunter", "unauthorized, key: ***"),
    ("403 for key: hunter", "403 for key: ***"),
    // A user is a token where a token may be
    ("https://hunter@h/x", "https://***@h/x"),
    ("redis://hunter@h", "redis://***@h"),
    ("postgres://Hunt2erXQ9@h", "postgres://***@h"),
    ("mysql -prod-hunter", "mysql -p***"),
];

/// Nothing is secret in these, and all of it is needed.
pub(super) const PLAIN: &[&str] = &[
    // Who may not log in
    "cannot connect to postgres://app@db-1/shop",
    "no pg_hba.conf entry for host \"10.0.0.1\", user \"app\", database \"shop\", no encryption",
    "Access denied for user 'root'@'localhost' (using password: YES)",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "ERR AUTH <password> called without any password configured for the default user.",
    "AUTH command not allowed",
    "auth: service unavailable",
    "authorization: missing",
    "HTTP 401: bearer token missing",
    "Bearer authentication required",
    "WWW-Authenticate: Bearer realm=\"shop\"",
    "cookie: not set",
    "cookie: no session in it",
    // What is said of a secret
    "password: not set",
    "password: None, host: db",
    "password: must be longer than 8",
    "token: expired",
    "credentials: missing.",
    "token expired at 12:00",
    "password is required",
    "password for user bob: wrong",
    "the secret is rotated daily",
    "cannot read private key: No such file or directory (os error 2)",
    "password_hash_algorithm: bcrypt, password_encryption=scram-sha-256",
    "token_type=bearer, token_count: 12, max_tokens=4096",
    // Parsers
    "unexpected token: `}`",
    "expected token: identifier",
    // Keys that open nothing
    "cache key=user:42, partition key=eu-west",
    "cache key: user:42 expired",
    "missing key: orders.42",
    "key: users42 is gone",
    "duplicate key value violates unique constraint \"users_pkey\"",
    "unauthorized, cache key: user:42",
    "key size=256, key usage: digitalSignature",
    // Numbers and signals
    "GPIO pin: 7",
    "killed by signal: 9 (sig=9)",
    "sig: SIGTERM, sig=SIGKILL",
    "code=500, exit code: 137, error code: 42P01",
    "status code=E1001",
    "GET /errors?code=404&x=1",
    // What only looks encoded, stored or attached
    "GET /x?to=mail%3Dbob",
    "it costs $1$ and salt lake city",
    "hash=abc, sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "psql -p 5432 failed",
    "mysql -P 3306 failed",
    "response=\"not found\"",
    "(user, host), (\"user\", \"app\")",
    "unknown command 'FOO', try HELP",
];
