//! The error numbers of MySQL and MariaDB, which say more than their SQLSTATE.

use sqlx::error::DatabaseError;
use sqlx::mysql::MySqlDatabaseError;

use super::Trouble;

/// `None` when the SQLSTATE says enough, or the answer is that of another database.
pub(super) fn trouble(answer: &dyn DatabaseError) -> Option<Trouble> {
    let answer = answer.try_downcast_ref::<MySqlDatabaseError>()?;
    number_trouble(answer.number(), answer.message())
}

fn number_trouble(number: u16, message: &str) -> Option<Trouble> {
    match number {
        // "running with the --read-only option"; the number stands for other options too.
        1290 if message.contains("read-only") || message.contains("read_only") => {
            Some(Trouble::ReadOnly)
        }
        // A transaction that only reads; the server as a whole.
        1792 | 1836 => Some(Trouble::ReadOnly),
        // Too many connections, in all or of this user.
        1040 | 1203 | 1226 => Some(Trouble::Busy),
        // The server goes down; the connection was ended by KILL.
        1053 | 1927 => Some(Trouble::Lost),
        // The server has ended the connection for idling, and says so to the statement that came after that. MariaDB, which closes
        // it without a word, has the number for something else: that a trigger is not there.
        4031 if message.contains("disconnected by the server because of inactivity") => {
            Some(Trouble::Idled)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_tells_what_the_state_does_not() {
        let table = [
            (
                1290,
                "running with the --read-only option",
                Some(Trouble::ReadOnly),
            ),
            (
                1290,
                "running with the --super-read-only option",
                Some(Trouble::ReadOnly),
            ),
            (1290, "running with the --secure-file-priv option", None),
            (1792, "", Some(Trouble::ReadOnly)),
            (1836, "", Some(Trouble::ReadOnly)),
            (1040, "", Some(Trouble::Busy)),
            (1927, "", Some(Trouble::Lost)),
            (
                4031,
                "The client was disconnected by the server because of inactivity. See wait_timeout",
                Some(Trouble::Idled),
            ),
            (4031, "Referenced trigger 'nowhere' does not exist", None),
            (1062, "", None),
            (1146, "", None),
        ];
        for (number, message, expected) in table {
            assert_eq!(
                number_trouble(number, message),
                expected,
                "{number} {message}"
            );
        }
    }
}
