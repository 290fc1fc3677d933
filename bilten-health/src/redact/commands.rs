//! Credentials among the words of a command: pure.

use super::prose::{is_said, looks_like_one};
use regex::{Captures, Regex};
use std::sync::LazyLock;

/// Settings and commands whose next word is a secret.
static SETTING: LazyLock<Regex> = pattern!(concat!(
    r"(?i)\b((?:requirepass|(?:dest|src)?(?:store|key)pass|masterauth|primaryauth|bind_?pw|rootpw|auth-pass\s+[^\s]+|login\s+[^\s]+\s+password",
    r"|htpasswd\s+-[a-z]*b[a-z]*\s+[^\s]+\s+[^\s]+|net\s+use\s+[^\r\n]{1,128}?/user:[^\s]+)",
    r#"["']?[\s=:,]+)("[^"\r\n]*"|'[^'\r\n]*'|[^\s"',;]+)"#
));

/// `SET PASSWORD FOR u = 'x'`, with or without the function that hashes it.
static SET_PASSWORD: LazyLock<Regex> = pattern!(concat!(
    r"(?i)(\bset\s+password\s+for\s+[^\s=]+(?:\s*@\s*[^\s=]+)?\s*(?:=|\bto\b)\s*(?:(?:old_)?password\s*\(\s*)?)",
    r#"('(?:[^'\\]|\\.|'')*'|"(?:[^"\\]|\\.|"")*"|[^\s;)]+)"#
));

/// What Redis repeats of a command that it does not know, or that was renamed: of `AUTH` and `CONFIG SET` a password.
static REPEATED: LazyLock<Regex> = pattern!(r"(?i)(, with args beginning with: *)[^\r\n]+");

/// A name and a word that looks like a password behind it: `username app password x`.
static NAMED: LazyLock<Regex> =
    pattern!(r#"(?i)(\buser(?:name)?[ =:]+[^\s]+[ ,;]+pass(?:word)?[ ]+)([^\s"',;]+)"#);

/// Oracle's `user/password@`, where no colon makes it a login.
static ORACLE: LazyLock<Regex> = pattern!(r"(?i)(\bsqlplus\s+(?:-[a-z]+\s+)*[^\s/@:]+/)[^\s@]+@");

/// Rules of a Redis user: `ACL SETUSER a on >x`, and `user a on >x` as they are listed.
static USER_RULES: LazyLock<Regex> = pattern!(concat!(
    r"(?i)\b(?:setuser\b|user\s+[^\s]+\s+(?:on|off)\s+(?:(?:skip-)?sanitize-payload\s+)?[>#])",
    r"[^\r\n]*"
));

/// `>x` adds a password, `<x` takes it away, `#x` and `!x` are the same with its hash.
static USER_PASSWORD: LazyLock<Regex> = pattern!(r#"([\s"'])([><#!])[^\s"']+"#);

/// A login behind an option of curl and others.
static LOGIN: LazyLock<Regex> = pattern!(concat!(
    r#"(^|[\s"'\[,])((?:-u|-U|--user|--proxy-user)["']?[\s,=]+)"#,
    r#"("[^"\r\n]*:[^"\r\n]+"|'[^'\r\n]*:[^'\r\n]+'|[^\s"',:]*:[^\s"',]+)"#
));

/// An option with a password in the next word.
static OPTION: LazyLock<Regex> =
    pattern!(r#"(^|[\s"'\[,])(-[apPw]["']?[\s,]+)("[^"\r\n]*"|'[^'\r\n]*'|[^\s"',\[\]]+)"#);

/// An option with a password in the same word.
static ATTACHED: LazyLock<Regex> = pattern!(r#"(^|[\s"'\[,])(-[pP])([^\s"',\[\]]+)"#);

/// Programs that take a password with an option, where others take something else.
const PROGRAMS: [(&str, &[&str]); 4] = [
    ("-a", &["redis-cli", "valkey-cli", "keydb-cli"]),
    (
        "-p",
        &[
            "mysql",
            "mariadb",
            "sshpass",
            "docker login",
            "podman login",
            "mongo",
            "cqlsh",
        ],
    ),
    ("-P", &["sqlcmd", "bcp "]),
    (
        "-w",
        &[
            "ldapsearch",
            "ldapmodify",
            "ldapadd",
            "ldapdelete",
            "ldapwhoami",
            "ldappasswd",
            "ldapcompare",
        ],
    ),
];

/// `requirepass x`, `ACL SETUSER a >x`, `redis-cli -a x`, `mysql -px`, `curl -u u:p`.
pub(super) fn mask_commands(text: &str) -> String {
    let text = REPEATED.replace_all(text, "$1***");
    let text = SETTING.replace_all(&text, setting);
    let text = SET_PASSWORD.replace_all(&text, "$1***");
    let text = NAMED.replace_all(&text, |named: &Captures<'_>| {
        mask_if(named, looks_like_one(&named[2]))
    });
    let text = ORACLE.replace_all(&text, "$1***@");
    let text = USER_RULES.replace_all(&text, |rules: &Captures<'_>| {
        USER_PASSWORD.replace_all(&rules[0], "$1$2***").into_owned()
    });
    let text = LOGIN.replace_all(&text, login);
    let lines = text.split_inclusive(['\r', '\n']);
    lines.map(mask_options).collect()
}

/// The options of one line, on which the program stands as well, if it stands anywhere.
fn mask_options(line: &str) -> String {
    let lower = line.to_ascii_lowercase();
    let known = PROGRAMS.map(|(option, programs)| {
        let runs = programs.iter().any(|program| lower.contains(program));
        (option, runs)
    });
    let mask = |found: &Captures<'_>| {
        let option = &found[2][..2];
        mask_if(
            found,
            known.contains(&(option, true)) || looks_like_one(&found[3]),
        )
    };
    let line = ATTACHED.replace_all(line, mask);
    OPTION.replace_all(&line, mask).into_owned()
}

/// The value of an item of a list of words, `previous` the one in front of it and `first` the program.
pub(super) fn is_argument_of_a_secret(first: &str, previous: &str, item: &str) -> bool {
    let before = previous.to_ascii_lowercase();
    if !before.starts_with('-') && !before.contains("pass") && !before.contains("auth") {
        return false;
    }
    let line = format!("{first} {previous} {item}");
    let masked = mask_commands(&line);
    masked != line && masked.starts_with(&format!("{first} {previous} ***"))
}

/// A user and a group in numbers are no login, and neither is a URL, whose own login is masked already.
fn login(found: &Captures<'_>) -> String {
    let numbers = |byte: u8| byte.is_ascii_digit() || byte == b':';
    let other = found[3].bytes().all(numbers) || found[3].contains("://");
    mask_if(found, !other)
}

fn setting(found: &Captures<'_>) -> String {
    mask_if(found, !is_said(&found[2]))
}

/// The last group becomes `***`, or all stays.
fn mask_if(found: &Captures<'_>, secret: bool) -> String {
    if !secret {
        return found[0].to_owned();
    }
    let last = found.len() - 1;
    let kept = found[0].len() - found[last].len();
    format!("{}***", &found[0][..kept])
}
