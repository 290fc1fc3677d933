//! A first look, which most texts pass: pure.

use super::names::{NOUNS, WORDS};
use regex::Regex;
use std::sync::LazyLock;

/// What else one of the steps looks for; where neither this nor a name of a secret is, none of them finds anything.
const SIGNS: [&str; 15] = [
    // Of names
    r#"key["'\]]{0,2}\s*[=:]"#,
    r#"code[_a-z]{0,12}["']?\s*[:=]"#,
    r"assertion|saml|community|sess",
    "auth|cookie|bearer|basic|digest|identified by",
    // Of URLs and what is encoded
    "@|%[0-9a-f]|hooks|discord",
    // Of commands
    r#"(?:^|[\s"'\[,])-[-uapw]"#,
    r"bind_?pw|rootpw|/user:|setuser|user\s+\S+\s+(?:on|off)\s|beginning with",
    // Of markup
    "<[a-z_]|value=|-----begin",
    // Of what is stored
    r"\$[0-9a-z-]+\$|scram-sha|\{(?:s|c)",
    // Of issuers
    "eyj|gh[a-z]_|github_|glpat-|xox|[rs]k_|whsec_|dop_|shpat_|hvs\\.",
    "lin_api|sq0|dckr_|age-secret|1//0",
    "npm_|hf_|aiza|ya29|sg\\.|pypi-|sk-|akia|asia",
    "key-[0-9a-f]|eaa",
    r"\bs\.[a-z0-9]{24}",
    "[0-9]{8}:",
];

static LOOK: LazyLock<Regex> = LazyLock::new(|| {
    let mut parts: Vec<_> = NOUNS
        .iter()
        .map(|noun| noun.replace(' ', "[ _-]?"))
        .collect();
    // A word of this kind is in many others: what has to follow it is looked for as well.
    let words = WORDS.join("|");
    parts.push(format!(r#"(?:{words})[\\"'`\]]{{0,3}}\s*[=:,]"#));
    parts.extend(SIGNS.map(str::to_owned));
    Regex::new(&format!("(?i){}", parts.join("|"))).expect("the pattern is constant")
});

/// Whether the other steps have to look at `text` at all.
pub(super) fn may_hold_a_secret(text: &str) -> bool {
    LOOK.is_match(text)
}
