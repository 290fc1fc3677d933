use std::io::{self, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How the server answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The rows as `psql -At` prints them: fields with `|`, rows with line ends.
    Rows(String),
    /// The server's error, `SQLSTATE: message`.
    Error(String),
    /// It wants a kind of password proof this small client does not know.
    NeedsPsql,
}

/// Connects, runs one simple query and closes: enough to probe and steer a server without a driver.
pub(super) fn query(
    address: SocketAddr,
    user: &str,
    password: Option<&str>,
    database: &str,
    sql: &str,
    limit: Duration,
) -> io::Result<Answer> {
    let stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    stream.get_mut().write_all(&startup(user, database))?;
    let mut sent = false;
    let mut rows = Vec::new();
    let mut error = None;
    loop {
        let (kind, body) = message(&mut stream)?;
        match kind {
            b'R' => match (number(&body, 0)?, password) {
                (0, _) => {}
                (3, Some(password)) => stream
                    .get_mut()
                    .write_all(&tagged(b'p', &[password.as_bytes(), b"\0"].concat()))?,
                _ => return Ok(Answer::NeedsPsql),
            },
            b'E' if !sent => return Ok(Answer::Error(error_text(&body))),
            b'E' => error = Some(error_text(&body)),
            b'D' => rows.push(row_text(&body)?),
            b'Z' if sent => break,
            b'Z' => {
                sent = true;
                stream
                    .get_mut()
                    .write_all(&tagged(b'Q', &[sql.as_bytes(), b"\0"].concat()))?;
            }
            _ => {}
        }
    }
    // Said politely, so that the server's log stays free of lost connections.
    let _ = stream.get_mut().write_all(&tagged(b'X', b""));
    Ok(error.map_or_else(|| Answer::Rows(rows.join("\n")), Answer::Error))
}

fn startup(user: &str, database: &str) -> Vec<u8> {
    let mut body = 196_608_i32.to_be_bytes().to_vec();
    for text in [
        "user",
        user,
        "database",
        database,
        "application_name",
        "bilten-testbed",
        "client_encoding",
        "UTF8",
    ] {
        body.extend_from_slice(text.as_bytes());
        body.push(0);
    }
    body.push(0);
    with_length(&body)
}

fn tagged(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind], with_length(body).as_slice()].concat()
}

fn with_length(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&length.to_be_bytes(), body].concat()
}

fn message(stream: &mut impl Read) -> io::Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let length = usize::try_from(number(&head, 1)?)
        .ok()
        .and_then(|length| length.checked_sub(4))
        .ok_or_else(garbage)?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((head[0], body))
}

fn number(body: &[u8], at: usize) -> io::Result<i32> {
    let bytes = body
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(garbage)?;
    Ok(i32::from_be_bytes(bytes))
}

fn row_text(body: &[u8]) -> io::Result<String> {
    let count = u16::from_be_bytes([
        *body.first().ok_or_else(garbage)?,
        *body.get(1).ok_or_else(garbage)?,
    ]);
    let mut at = 2;
    let mut fields = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        // A length of -1 is NULL, shown empty as psql does.
        let length = usize::try_from(number(body, at)?).unwrap_or(0);
        at += 4;
        fields.push(
            String::from_utf8_lossy(body.get(at..at + length).ok_or_else(garbage)?).into_owned(),
        );
        at += length;
    }
    Ok(fields.join("|"))
}

fn error_text(body: &[u8]) -> String {
    let field = |kind: u8| {
        let found = body
            .split(|byte| *byte == 0)
            .find(|field| field.first() == Some(&kind))?;
        Some(String::from_utf8_lossy(&found[1..]).into_owned())
    };
    format!(
        "{}: {}",
        field(b'C').unwrap_or_default(),
        field(b'M').unwrap_or_default()
    )
}

fn garbage() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the PostgreSQL protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_fields_with_bars_and_null_is_empty() {
        let body = [
            &[0, 3][..],
            &[0, 0, 0, 1],
            b"a",
            &[255, 255, 255, 255],
            &[0, 0, 0, 2],
            b"bc",
        ]
        .concat();
        assert_eq!(row_text(&body).unwrap(), "a||bc");
        assert!(row_text(&body[..6]).is_err(), "a short row is an error");
    }

    #[test]
    fn an_error_is_its_state_and_message() {
        assert_eq!(
            error_text(b"SERROR\0C42P01\0Mno such table\0\0"),
            "42P01: no such table"
        );
    }

    #[test]
    fn a_message_has_its_length_in_front() {
        assert_eq!(tagged(b'Q', b"x\0"), b"Q\0\0\0\x06x\0");
        assert_eq!(
            message(&mut &b"Z\0\0\0\x05I"[..]).unwrap(),
            (b'Z', b"I".to_vec())
        );
        assert!(message(&mut &b"Z\0\0\0\x01"[..]).is_err());
    }
}
