//! Secrets that are known by their own shape: pure.

use super::names::names_a_secret;
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// A private key in PEM, to its last line or, where that is missing, to the end.
static PRIVATE_KEY: LazyLock<Regex> =
    pattern!(r"(?s)(-----BEGIN [A-Z0-9 ]*PRIVATE KEY[A-Z ]*-----).*?(-----END [A-Z0-9 ]*-----|\z)");

/// `<password>x</password>`, with attributes and CDATA.
static ELEMENT: LazyLock<Regex> =
    pattern!(r"(<([A-Za-z_][A-Za-z0-9_:.-]*)(?: [^<>]*)?>)(?:<!\[CDATA\[[^\]<]*\]\]>|[^<>]+)</");

/// A JSON web token, signed or encrypted: base64url of `{"`, and one to four more parts.
static WEB_TOKEN: LazyLock<Regex> =
    pattern!(r"\beyJ[A-Za-z0-9_-]{2,}\.[A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]*){0,3}");

/// What issuers put in front of their tokens, so that they are found where they should not be.
static PREFIXED: LazyLock<Regex> = pattern!(concat!(
    r"\b(?:(gh[oprsu]_|github_pat_|glpat-|xox[abeoprs]-|[rs]k_(?:live|test)_|whsec_|dop_v1_|shpat_|hvs\.)[A-Za-z0-9_.=-]{4,}",
    r"|(lin_api_|sq0[a-z]{3}-|dckr_pat_|AGE-SECRET-KEY-1|1//0)[A-Za-z0-9_-]{8,}",
    r"|(npm_|hf_|AIza|ya29\.|SG\.|pypi-|sk-)[A-Za-z0-9_.-]{20,}",
    r"|(AKIA|ASIA)[A-Z0-9]{12,})"
));

/// Tokens whose beginning is too short to tell, but not their length: of Mailgun, Vault and Telegram.
static MEASURED: LazyLock<Regex> = pattern!(
    r"\b(?:(key-)[0-9a-f]{32}|(s\.)[A-Za-z0-9]{24,}|((?:bot)?[0-9]{8,10}:)[A-Za-z0-9_-]{32,}|(EAA)[A-Za-z0-9]{20,})\b"
);

/// URLs that are secret as a whole: whoever knows one may write there.
static WEBHOOK: LazyLock<Regex> = pattern!(
    r"(?i)(hooks\.slack\.com/(?:services|workflows)/|discord(?:app)?\.com/api/webhooks/)[A-Za-z0-9_/-]+"
);

/// Prose of servers that refuse one: the value stands behind the colon.
static REFUSED: LazyLock<Regex> = pattern!(
    r#"(?i)(\b(?:api[ _-]?key|access[ _-]?key|token|password) (?:provided|used|given|supplied): *)("[^"\r\n]*"|'[^'\r\n]*'|[^\s"']+)"#
);

/// `<add key="password" value="x"/>`, in which the name is a value itself.
static ATTRIBUTES: LazyLock<Regex> = pattern!(
    r#"(?i)(\b(?:key|name)=["']([A-Za-z0-9_.:-]{1,64})["']\s+value=)("[^"\r\n]*"|'[^'\r\n]*')"#
);

/// A URL with a login that was encoded to be a part of another one, once or more often.
static ENCODED_URL: LazyLock<Regex> = pattern!(concat!(
    r"(?i)((?::|%(?:25){0,3}3a)%(?:25){0,3}2f%(?:25){0,3}2f)",
    r#"(?:[^\s"'<>&/?#%@]|%(?:25){0,3}(?:[013-9a-f][0-9a-f]|2[0-9a-e]|3[0-9a-e]))+"#,
    r"(@|%(?:25){0,3}40)"
));

/// A password as it is stored: bcrypt, Argon2, crypt, SCRAM, LDAP. Whoever has one can try passwords on it.
static STORED: LazyLock<Regex> = pattern!(concat!(
    r"(\$(?:2[abxy]|argon2(?:id|i|d)|[156y]|s?crypt|pbkdf2[a-z0-9-]{0,16})\$|SCRAM-SHA-[0-9]+\$|\{(?:SSHA|SMD5|SHA|CRYPT)[0-9]*\})",
    r"[A-Za-z0-9./+=:,$-]{8,}"
));

/// What answers a challenge: of `Digest`, beside its own name.
static RESPONSE: LazyLock<Regex> =
    pattern!(r#"(?i)(\b(?:response|cnonce)=)("[^"\r\n]*"|[0-9a-z]{8,})"#);

/// Everything whose beginning and end tell what it is.
pub(super) fn mask_shapes(text: &str) -> String {
    let text = PRIVATE_KEY.replace_all(text, "$1***$2");
    let text = ELEMENT.replace_all(&text, element);
    let text = WEB_TOKEN.replace_all(&text, "***");
    let text = PREFIXED.replace_all(&text, "$1$2$3$4***");
    let text = MEASURED.replace_all(&text, "$1$2$3$4***");
    let text = WEBHOOK.replace_all(&text, "$1***");
    let text = REFUSED.replace_all(&text, "$1***");
    let text = ATTRIBUTES.replace_all(&text, attributes);
    let text = STORED.replace_all(&text, "$1***");
    let text = match text.contains("igest ") {
        true => RESPONSE.replace_all(&text, "$1***"),
        false => text.as_ref().into(),
    };
    ENCODED_URL.replace_all(&text, "$1***$2").into_owned()
}

fn attributes(found: &Captures<'_>) -> String {
    match names_a_secret(&found[2]) {
        true => format!("{}***", &found[1]),
        false => found[0].to_owned(),
    }
}

fn element(found: &Captures<'_>) -> String {
    match names_a_secret(&found[2]) {
        true => format!("{}***</", &found[1]),
        false => found[0].to_owned(),
    }
}
