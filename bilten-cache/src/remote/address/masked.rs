/// The URL without what may be a secret: user information, query and fragment, and whatever is no port and no database
/// although it stands where one does (`redis://app:password` has lost its host).
pub(in crate::remote) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "***".to_owned();
    };
    let (secret, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    if secret.contains(['?', '#']) {
        // Of the user information, or of a parameter like `sentinelPassword=p@ss`? Then what follows it is no host.
        return [scheme, "://***"].concat();
    }
    let stars = if secret.is_empty() { "" } else { "***@" };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest[..end]
        .find('/')
        .map_or((&rest[..end], ""), |at| rest[..end].split_at(at));
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !authority.ends_with(']') => {
            (host, Some(shown_if(port, is_port(port, secret))))
        }
        _ => (authority, None),
    };
    // No host has a colon: it has lost the `@` before it.
    let host = match host {
        lost if lost.contains(':') && !lost.starts_with('[') => "***",
        host => host,
    };
    let colon = if port.is_some() { ":" } else { "" };
    // A socket's path is what a person has to see.
    let path = match path.strip_prefix('/') {
        Some(database) if !scheme.ends_with("+unix") => {
            ["/", shown_if(database, is_database(database))].concat()
        }
        _ => path.to_owned(),
    };
    [scheme, "://", stars, host, colon, port.unwrap_or(""), &path].concat()
}

/// A password may consist of digits, too; where an `@` stands it was before it.
fn is_port(text: &str, before: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    is_number && (!before.is_empty() || text.is_empty() || text.parse::<u16>().is_ok())
}

fn is_database(text: &str) -> bool {
    text.len() <= 5 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn shown_if(text: &str, harmless: bool) -> &str {
    if harmless { text } else { "***" }
}
