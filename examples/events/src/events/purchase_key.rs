//! The name that a buyer gives a purchase, so that sending it twice buys once.

use http::HeaderMap;

use crate::error::Error;

/// The header that carries it.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";

const LONGEST: usize = 64;

/// The key of this request, if its client gave one.
///
/// # Errors
/// 400 when it is empty, longer than 64 characters or not plain text, or when there are two.
pub fn purchase_key(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else {
        return Ok(None);
    };
    let text = key.to_str().ok().filter(|text| {
        (1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
    });
    match (text, keys.next()) {
        (Some(text), None) => Ok(Some(text.to_owned())),
        _ => Err(Error::invalid(
            "Idempotency-Key",
            "must be one word of 1 to 64 plain characters, such as a UUID",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::{IDEMPOTENCY_KEY, purchase_key};
    use http::{HeaderMap, HeaderValue};

    #[test]
    fn a_key_is_one_plain_word() {
        let long = "k".repeat(65);
        for (keys, accepted) in [
            (&[][..], Some(None)),
            (
                &["8e03978e-40d5-43dd-bc93-6894a57f9324"],
                Some(Some("8e03978e-40d5-43dd-bc93-6894a57f9324")),
            ),
            (&["\"quoted\""], Some(Some("\"quoted\""))),
            (&[""], None),
            (&["two words"], None),
            (&[long.as_str()], None),
            (&["a", "b"], None),
        ] {
            let mut headers = HeaderMap::new();
            for key in keys {
                headers.append(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
            }
            let key = purchase_key(&headers).ok();
            assert_eq!(key.as_ref().map(Option::as_deref), accepted, "{keys:?}");
        }
    }
}
