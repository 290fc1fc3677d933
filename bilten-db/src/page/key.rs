//! The columns that order a keyset, and how their values travel through text and back.

use sea_orm::sea_query::{
    Alias, Condition, DynIden, Expr, ExprTrait, Func, Order, SelectStatement,
};
use sea_orm::{ColumnTrait, ColumnType, DbBackend, EntityTrait, IdenStatic};

use super::cursor::{Position, Way};
use crate::Error;

/// One column and its direction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key<C> {
    pub(super) column: C,
    pub(super) order: Direction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Up,
    Down,
}

impl Direction {
    /// The direction in which the rows are read.
    fn along(self, way: Way) -> Self {
        match (self, way.is_forward()) {
            (Self::Up, true) | (Self::Down, false) => Self::Up,
            (Self::Down, true) | (Self::Up, false) => Self::Down,
        }
    }
}

/// The name under which the `n`th key stands in a row.
pub(super) fn alias(n: usize) -> String {
    format!("bilten_key_{n}")
}

impl<C: ColumnTrait> Key<C> {
    /// Adds the key to what is selected, as text.
    pub(super) fn select(&self, n: usize, backend: DbBackend, query: &mut SelectStatement) {
        let text = if backend == DbBackend::MySql {
            "CHAR"
        } else {
            "TEXT"
        };
        let mut column: Expr = Expr::col(self.column.as_column_ref());
        if backend == DbBackend::MySql && self.is_enum() {
            // It is sorted by the place of its value among all, which a number asks for.
            column = column.add(0);
        }
        query.expr_as(column.cast_as(Alias::new(text)), Alias::new(alias(n)));
    }

    pub(super) fn order(&self, way: Way, query: &mut SelectStatement) {
        let order = match self.order.along(way) {
            Direction::Up => Order::Asc,
            Direction::Down => Order::Desc,
        };
        query.order_by(self.column.as_column_ref(), order);
    }

    /// The value of a cursor, in the column's own type.
    fn value(&self, text: &str, backend: DbBackend) -> Result<Expr, Error> {
        let kind = self.column.def().get_column_type().clone();
        if !fits(backend, &kind, text) {
            return Err(Error::invalid(
                "cursor",
                format!("holds no value of the key `{}`", self.column.as_str()),
                "begin with the first page of this query",
            ));
        }
        self.typed(&kind, text, backend)
    }

    fn typed(&self, kind: &ColumnType, text: &str, backend: DbBackend) -> Result<Expr, Error> {
        let value = Expr::val(text);
        match cast(backend, kind) {
            Some(Cast::Bare) => Ok(value),
            Some(Cast::Plain(name)) => Ok(value.cast_as(Alias::new(name))),
            Some(Cast::Named(name)) => Ok(Func::cast_as_quoted(value, name).into()),
            None => Err(self.refused("has a type whose values do not survive as text")),
        }
    }

    /// Whether rows can be told apart and ordered by this column.
    pub(super) fn check(&self, backend: DbBackend) -> Result<(), Error> {
        let column = self.column.def();
        if column.is_null() {
            return Err(self.refused("may be NULL, and rows without a value would be skipped"));
        }
        self.typed(column.get_column_type(), "", backend).map(drop)
    }

    fn is_enum(&self) -> bool {
        matches!(self.column.def().get_column_type(), ColumnType::Enum { .. })
    }

    fn refused(&self, problem: &str) -> Error {
        Error::invalid(
            format!("key `{}`", self.column.as_str()),
            problem,
            "order by columns that are never NULL: numbers, text, dates or ids",
        )
    }
}

/// Whether `text` may be a value of this type: one that somebody made up is not left to the database, which blames the
/// query or, as SQLite, takes it for zero.
fn fits(backend: DbBackend, kind: &ColumnType, text: &str) -> bool {
    use ColumnType as T;
    let within = |least: i128, most: i128| {
        text.parse::<i128>()
            .is_ok_and(|n| (least..=most).contains(&n))
    };
    let made_of = |more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_digit() || more.contains(c))
    };
    match kind {
        T::TinyInteger | T::SmallInteger | T::TinyUnsigned => within(-0x8000, 0x7fff),
        T::Integer | T::SmallUnsigned => within(-0x8000_0000, 0x7fff_ffff),
        T::BigInteger | T::Unsigned => within(i64::MIN.into(), i64::MAX.into()),
        T::BigUnsigned => within(0, u64::MAX.into()),
        // Elsewhere it is a number, of which any but 0 is true.
        T::Boolean if backend != DbBackend::Postgres => within(i64::MIN.into(), i64::MAX.into()),
        T::Boolean => matches!(text, "true" | "false" | "t" | "f" | "0" | "1"),
        T::Decimal(_) => made_of("+-.eENa") || text.ends_with("Infinity"),
        T::Uuid => text.len() == 36 && made_of("abcdef-"),
        T::Inet | T::Cidr => made_of("abcdef.:/"),
        _ => true,
    }
}

enum Cast {
    /// Text as it is. A cast would give it a collation of its own, which MySQL does not compare with that of a column.
    Bare,
    Plain(&'static str),
    Named(DynIden),
}

/// The type that text is turned back into; `None` for types that lose something on the way, such as floats.
fn cast(backend: DbBackend, kind: &ColumnType) -> Option<Cast> {
    use ColumnType as T;
    let (postgres, mysql, sqlite) = match kind {
        T::Char(_) | T::String(_) | T::Text if backend == DbBackend::MySql => {
            return Some(Cast::Bare);
        }
        T::Char(_) => ("bpchar", "", "TEXT"),
        T::String(_) | T::Text => ("text", "", "TEXT"),
        T::TinyInteger | T::SmallInteger | T::TinyUnsigned => ("smallint", "SIGNED", "INTEGER"),
        T::Integer | T::SmallUnsigned => ("integer", "SIGNED", "INTEGER"),
        T::BigInteger | T::Unsigned => ("bigint", "SIGNED", "INTEGER"),
        T::BigUnsigned => ("numeric", "UNSIGNED", "INTEGER"),
        T::Decimal(_) => ("numeric", "DECIMAL(65,30)", ""),
        T::DateTime | T::Timestamp => ("timestamp", "DATETIME(6)", "TEXT"),
        T::TimestampWithTimeZone => ("timestamptz", "DATETIME(6)", "TEXT"),
        T::Date => ("date", "DATE", "TEXT"),
        T::Time => ("time", "TIME(6)", "TEXT"),
        T::Boolean => ("boolean", "SIGNED", "INTEGER"),
        T::Uuid => ("uuid", "", ""),
        T::Inet => ("inet", "", ""),
        T::Cidr => ("cidr", "", ""),
        T::Enum { name, .. } | T::Custom(name) if backend == DbBackend::Postgres => {
            return Some(Cast::Named(name.clone()));
        }
        T::Enum { .. } => ("", "UNSIGNED", "TEXT"),
        _ => return None,
    };
    let name = match backend {
        DbBackend::MySql => mysql,
        DbBackend::Sqlite => sqlite,
        _ => postgres,
    };
    (!name.is_empty()).then_some(Cast::Plain(name))
}

/// The rows beyond a position.
///
/// One comparison of rows where all keys run the same way, which an index on them answers directly. Otherwise each key
/// in turn, with those before it equal.
pub(super) fn beyond<C: ColumnTrait>(
    keys: &[Key<C>],
    position: &Position,
    backend: DbBackend,
) -> Result<Condition, Error> {
    let columns = || keys.iter().map(|key| Expr::col(key.column.as_column_ref()));
    let values = keys
        .iter()
        .zip(&position.keys)
        .map(|(key, text)| key.value(text, backend))
        .collect::<Result<Vec<_>, _>>()?;
    let up = |key: &Key<C>| key.order.along(position.way) == Direction::Up;
    let same_way = keys.windows(2).all(|two| up(&two[0]) == up(&two[1]));
    // MySQL compares rows, but finds no index for it.
    if same_way && backend != DbBackend::MySql {
        let (rows, row) = (Expr::tuple(columns()), Expr::tuple(values));
        let forward = keys.first().is_none_or(up);
        let beyond = compare(rows, row, forward, position.way.is_inclusive());
        return Ok(Condition::all().add(beyond));
    }
    let mut any = Condition::any();
    for (n, (key, value)) in keys.iter().zip(&values).enumerate() {
        let mut all = Condition::all();
        for (column, equal) in columns().zip(&values).take(n) {
            all = all.add(column.eq(equal.clone()));
        }
        let column = Expr::col(key.column.as_column_ref());
        let inclusive = position.way.is_inclusive() && n + 1 == keys.len();
        let beyond = compare(column, value.clone(), up(key), inclusive);
        any = any.add(all.add(beyond));
    }
    Ok(any)
}

fn compare(column: Expr, value: Expr, up: bool, inclusive: bool) -> Expr {
    match (up, inclusive) {
        (true, false) => column.gt(value),
        (true, true) => column.gte(value),
        (false, false) => column.lt(value),
        (false, true) => column.lte(value),
    }
}

/// The columns of the primary key that are not among the keys: with them no two rows are equal.
pub(super) fn missing<E: EntityTrait>(keys: &[Key<E::Column>]) -> Vec<E::Column> {
    use sea_orm::{Iterable, PrimaryKeyToColumn};
    let is_there = |column: &E::Column| {
        keys.iter()
            .any(|key| key.column.as_str() == column.as_str())
    };
    E::PrimaryKey::iter()
        .map(PrimaryKeyToColumn::into_column)
        .filter(|column| !is_there(column))
        .collect()
}

/// The order in words, for the fingerprint.
pub(super) fn words<C: ColumnTrait>(keys: &[Key<C>]) -> String {
    keys.iter().fold(String::new(), |words, key| {
        let way = if key.order == Direction::Up { '<' } else { '>' };
        words + key.column.unquoted() + &String::from(way)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_no_column_of_the_type_holds_is_told() {
        use ColumnType as T;
        let table = [
            (T::Integer, "20", true),
            (T::Integer, "-5", true),
            (T::Integer, "\u{2}0", false),
            (T::Integer, "", false),
            (T::Integer, "3000000000", false),
            (T::BigInteger, "3000000000", true),
            (T::BigUnsigned, "18446744073709551615", true),
            (T::SmallInteger, "40000", false),
            (T::Boolean, "true", true),
            (T::Boolean, "maybe", false),
            (T::Decimal(None), "-12.50", true),
            (T::Decimal(None), "1; drop", false),
            (T::Uuid, "67e55044-10b1-426f-9247-bb680e5fe0c8", true),
            (T::Uuid, "67e55044", false),
            (T::Text, "\u{2}0", true),
        ];
        for (kind, text, expected) in table {
            assert_eq!(
                fits(DbBackend::Postgres, &kind, text),
                expected,
                "{kind:?} {text:?}"
            );
        }
        assert!(fits(DbBackend::MySql, &T::Boolean, "2"));
    }
}
