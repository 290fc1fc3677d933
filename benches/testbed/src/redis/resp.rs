use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Error;

/// One blocking connection that speaks just enough of the Redis protocol; every read and write is bounded.
#[derive(Debug)]
pub(crate) struct Resp {
    stream: BufReader<TcpStream>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Text(String),
    Error(String),
    Nil,
    List(Vec<Self>),
}

impl Resp {
    pub(crate) fn connect(address: SocketAddr, limit: Duration) -> Result<Self, Error> {
        let fail = |e| Error::io(format!("connect to Redis at {address}"), e);
        let stream = TcpStream::connect_timeout(&address, limit).map_err(fail)?;
        stream.set_read_timeout(Some(limit)).map_err(fail)?;
        stream.set_write_timeout(Some(limit)).map_err(fail)?;
        stream.set_nodelay(true).map_err(fail)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends one command and turns the answer into text as `redis-cli` prints it: lists line by line, nil empty.
    pub(crate) fn text(&mut self, words: &[&str]) -> Result<String, Error> {
        // Credentials are not repeated in an error.
        let shown = if words
            .first()
            .is_some_and(|w| w.eq_ignore_ascii_case("AUTH"))
        {
            "AUTH".to_owned()
        } else {
            words.join(" ")
        };
        let reply = self
            .exchange(words)
            .map_err(|e| Error::io(format!("run `{shown}` on Redis"), e))?;
        match reply {
            Reply::Error(answer) => Err(Error::refused(&shown, answer)),
            reply => Ok(reply.lines()),
        }
    }

    fn exchange(&mut self, words: &[&str]) -> std::io::Result<Reply> {
        let mut request = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
        }
        self.stream.get_mut().write_all(&request)?;
        read_reply(&mut self.stream)
    }
}

impl Reply {
    fn lines(&self) -> String {
        match self {
            Self::Text(text) | Self::Error(text) => text.clone(),
            Self::Nil => String::new(),
            Self::List(items) => items.iter().map(Self::lines).collect::<Vec<_>>().join("\n"),
        }
    }
}

fn read_reply(stream: &mut impl BufRead) -> std::io::Result<Reply> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let line = line.trim_end_matches(['\r', '\n']);
    let (kind, rest) = line.split_at_checked(1).unwrap_or(("", line));
    let count = || rest.parse::<i64>().map_err(|_| garbage(line));
    Ok(match kind {
        "+" | ":" => Reply::Text(rest.to_owned()),
        "-" => Reply::Error(rest.to_owned()),
        "$" => match usize::try_from(count()?) {
            Err(_) => Reply::Nil,
            Ok(length) => {
                let mut bytes = vec![0; length + 2];
                stream.read_exact(&mut bytes)?;
                bytes.truncate(length);
                Reply::Text(String::from_utf8_lossy(&bytes).into_owned())
            }
        },
        "*" => match usize::try_from(count()?) {
            Err(_) => Reply::Nil,
            Ok(length) => Reply::List(
                (0..length)
                    .map(|_| read_reply(stream))
                    .collect::<Result<_, _>>()?,
            ),
        },
        _ => return Err(garbage(line)),
    })
}

fn garbage(line: &str) -> std::io::Error {
    std::io::Error::new(
        std::io::ErrorKind::InvalidData,
        format!("not the Redis protocol: {line:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_become_the_lines_of_redis_cli() {
        for (wire, text) in [
            ("+OK\r\n", "OK"),
            (":42\r\n", "42"),
            ("$5\r\na\r\nbc\r\n", "a\r\nbc"),
            ("$-1\r\n", ""),
            ("*3\r\n$1\r\na\r\n*1\r\n:1\r\n$-1\r\n", "a\n1\n"),
        ] {
            assert_eq!(read_reply(&mut wire.as_bytes()).unwrap().lines(), text);
        }
        assert_eq!(
            read_reply(&mut "-ERR no\r\n".as_bytes()).unwrap(),
            Reply::Error("ERR no".to_owned())
        );
        assert!(read_reply(&mut "HTTP/1.1 400\r\n".as_bytes()).is_err());
        assert!(read_reply(&mut "".as_bytes()).is_err());
    }
}
