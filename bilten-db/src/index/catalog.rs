//! What the database knows about an index of this name.

use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult, Statement};

use super::spec::IndexSpec;

/// An index that exists, as far as it can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) state: State,
    /// Its number; an index that is made anew has another one. 0 where an index is there or is not.
    pub(super) id: i64,
    pub(super) table: String,
    /// Empty for expressions.
    pub(super) columns: Vec<String>,
    pub(super) include: Vec<String>,
    pub(super) unique: bool,
    pub(super) is_partial: bool,
    /// Of each column, whether the largest come first; `None` where the server takes no notice of that.
    pub(super) descending: Option<Vec<bool>>,
    /// `None` where there is one kind only.
    pub(super) method: Option<String>,
    /// Whether the database takes names for the same whose letters differ in size only.
    pub(super) folds: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Valid,
    /// Being made by some session right now, whether anybody waits for that or not.
    Building,
    /// What a failed concurrent build left behind: kept up to date by every write, used by no query.
    Invalid,
    /// Of a partitioned table, and not each partition has its part yet.
    InParts,
}

/// Who may not look into the session of another role sees that it makes an index, and not which. It holds the table against other builds
/// then, so what is not ready on that table is its.
macro_rules! is_being_made {
    () => {
        "exists (select from pg_stat_progress_create_index p \
            where p.datname = current_database() and (p.index_relid = i.indexrelid or p.index_relid is null \
                and exists (select from pg_locks l where l.pid = p.pid and l.relation = i.indrelid and l.granted \
                    and l.mode = 'ShareUpdateExclusiveLock')))"
    };
}
pub(super) use is_being_made;

const POSTGRES: &str = concat!(
    "select i.indisvalid, i.indisunique, i.indpred is not null, t.relname::text, \
    array_to_string(array(select coalesce(a.attname::text, '') from unnest(i.indkey) with ordinality as k(num, nth) \
        left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.num and k.num > 0 \
        order by k.nth), chr(1)), \
    i.indnkeyatts::int, ",
    is_being_made!(),
    ", \
    array_to_string(array(select o & 1 from unnest(i.indoption) with ordinality as k(o, nth) order by k.nth), ''), \
    m.amname::text, i.indexrelid::bigint, c.relkind = 'I' \
    from pg_index i join pg_class c on c.oid = i.indexrelid join pg_class t on t.oid = i.indrelid \
        join pg_am m on m.oid = c.relam \
    where c.relname = $1 and c.relnamespace = (select relnamespace from pg_class where oid = to_regclass($2))"
);

const SQLITE: &str = "select 1, l.\"unique\", l.partial, m.tbl_name, \
    (select group_concat(coalesce(name, ''), char(1)) from (select name from pragma_index_info(m.name) order by seqno)), \
    -1, 0, \
    (select group_concat(way, '') from (select \"desc\" as way from pragma_index_xinfo(m.name) where key = 1 order by seqno)), \
    null, 0, 0 from sqlite_master m join pragma_index_list(m.tbl_name) l on l.name = m.name \
    where m.type = 'index' and m.name = ? collate nocase";

/// MySQL before 8.0 and MariaDB before 10.8 take `DESC` and pass over it.
const MYSQL: &str = "select 1, min(non_unique) = 0, 0, min(table_name), \
    group_concat(coalesce(column_name, '') order by seq_in_index separator '\\u0001'), -1, 0, \
    if(0 /*!80000 + 1 */ /*M!100800 + 1 */, group_concat(if(collation = 'D', '1', '0') order by seq_in_index separator ''), null), \
    nullif(lower(min(index_type)), 'hash'), 0, 0 \
    from information_schema.statistics where index_name = ? and table_name = ? and table_schema = database() \
    having count(*) > 0";

/// Looks the index up. What seems to be left behind is looked at once more: one look sees the catalog as it was and the builds as they
/// are, and a build may have ended well in between.
pub(super) async fn look_up<C: ConnectionTrait>(
    db: &C,
    spec: &IndexSpec,
) -> Result<Option<Found>, DbErr> {
    let mut left = None;
    loop {
        let found = look(db, spec).await?;
        let invalid = found.as_ref().filter(|found| found.state == State::Invalid);
        let suspect = invalid.map(|found| found.id);
        if suspect.is_none() || suspect == left {
            return Ok(found);
        }
        left = suspect;
    }
}

async fn look<C: ConnectionTrait>(db: &C, spec: &IndexSpec) -> Result<Option<Found>, DbErr> {
    let backend = db.get_database_backend();
    let plain = spec
        .table
        .rsplit('.')
        .next()
        .unwrap_or(&spec.table)
        .to_owned();
    let name = spec.name.clone();
    let statement = match backend {
        DbBackend::Sqlite => Statement::from_sql_and_values(backend, SQLITE, [name.into()]),
        DbBackend::MySql => {
            // A separator that no name holds; the server reads no escapes of this kind.
            let sql = MYSQL.replace("\\u0001", "\u{1}");
            Statement::from_sql_and_values(backend, sql, [name.into(), plain.into()])
        }
        _ => {
            let table = spec
                .table
                .split('.')
                .map(|part| format!("\"{}\"", part.replace('"', "\"\"")));
            let table = table.collect::<Vec<_>>().join(".");
            Statement::from_sql_and_values(backend, POSTGRES, [name.into(), table.into()])
        }
    };
    let row = db.query_one_raw(statement).await?;
    row.map(|row| found(&row, backend)).transpose()
}

fn found(row: &QueryResult, backend: DbBackend) -> Result<Found, DbErr> {
    let flag = |n| match backend {
        DbBackend::Postgres => row.try_get_by_index::<bool>(n),
        _ => row.try_get_by_index::<i64>(n).map(|flag| flag != 0),
    };
    let state = match (flag(0)?, flag(6)?) {
        (true, _) => State::Valid,
        (false, true) => State::Building,
        (false, false) if flag(10)? => State::InParts,
        (false, false) => State::Invalid,
    };
    let names: String = row.try_get_by_index(4)?;
    let mut columns: Vec<String> = names.split('\u{1}').map(str::to_owned).collect();
    let keys = match backend {
        DbBackend::Postgres => usize::try_from(row.try_get_by_index::<i32>(5)?),
        _ => Ok(columns.len()),
    };
    let include = columns.split_off(keys.unwrap_or(columns.len()).min(columns.len()));
    Ok(Found {
        state,
        id: row.try_get_by_index(9)?,
        table: row.try_get_by_index(3)?,
        columns,
        include,
        unique: flag(1)?,
        is_partial: flag(2)?,
        descending: row
            .try_get_by_index::<Option<String>>(7)?
            .map(|ways| ways.chars().map(|way| way == '1').collect()),
        method: row.try_get_by_index(8)?,
        folds: backend != DbBackend::Postgres,
    })
}

impl Found {
    /// What is different from the wish; conditions and expressions are not compared.
    pub(super) fn differs(&self, spec: &IndexSpec) -> Option<String> {
        let wanted = spec.columns.iter().map(|column| column.name.as_str());
        let plain = spec.table.rsplit('.').next().unwrap_or(&spec.table);
        if !self.is_same(&self.table, plain) {
            return Some(format!("is on table `{}`", self.table));
        }
        let mut pairs = self.columns.iter().zip(wanted);
        let are_same = pairs.all(|(name, other)| self.is_same(name, other));
        if self.columns.len() != spec.columns.len() || !are_same {
            return Some(format!("has the columns {:?}", self.columns));
        }
        if self.include != spec.include {
            return Some(format!("includes the columns {:?}", self.include));
        }
        if self.unique != spec.unique {
            return Some(
                if self.unique {
                    "is unique"
                } else {
                    "is not unique"
                }
                .to_owned(),
            );
        }
        if self.is_partial != spec.filter.is_some() {
            let has = if self.is_partial {
                "has a filter"
            } else {
                "has no filter"
            };
            return Some(has.to_owned());
        }
        self.differs_in_kind(spec)
    }

    fn is_same(&self, name: &str, other: &str) -> bool {
        name == other || (self.folds && name.eq_ignore_ascii_case(other))
    }

    fn differs_in_kind(&self, spec: &IndexSpec) -> Option<String> {
        let wanted = spec.method.as_deref().unwrap_or("btree");
        if let Some(method) = self.method.as_deref().filter(|method| *method != wanted) {
            return Some(format!("is of the method `{method}`, not `{wanted}`"));
        }
        let found = self.descending.as_ref()?;
        let wanted = spec.columns.iter().map(|column| column.descending);
        if found.iter().copied().eq(wanted) {
            return None;
        }
        let ways = self.columns.iter().zip(found);
        let ways = ways.map(|(column, down)| match down {
            true => format!("`{column}` DESC"),
            false => format!("`{column}`"),
        });
        Some(format!(
            "is ordered by {}",
            ways.collect::<Vec<_>>().join(", ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_difference_is_named() {
        let there = Found {
            state: State::Valid,
            id: 7,
            table: "events".to_owned(),
            columns: vec!["a".to_owned(), "b".to_owned()],
            include: Vec::new(),
            unique: false,
            is_partial: false,
            descending: Some(vec![false, true]),
            method: Some("btree".to_owned()),
            folds: false,
        };
        let other = |name: &str| IndexSpec::new("i", name).column("a").column_desc("b");
        let spec = || other("events");
        let table = [
            (spec(), None),
            (spec().method("btree"), None),
            (other("shop.events"), None),
            (other("tickets"), Some("on table")),
            (
                IndexSpec::new("i", "events").columns(["b", "a"]),
                Some("columns"),
            ),
            (spec().include(["c"]), Some("includes")),
            (spec().unique(), Some("is not unique")),
            (spec().filter("a > 1"), Some("has no filter")),
            (spec().method("brin"), Some("is of the method `btree`")),
            (
                IndexSpec::new("i", "events").columns(["a", "b"]),
                Some("is ordered by `a`, `b` DESC"),
            ),
        ];
        let shouted = IndexSpec::new("I", "EVENTS").column("A").column_desc("B");
        assert!(there.differs(&shouted).is_some());
        let folded = Found {
            folds: true,
            ..there.clone()
        };
        assert_eq!(folded.differs(&shouted), None);
        for (spec, expected) in table {
            let difference = there.differs(&spec);
            assert_eq!(difference.is_some(), expected.is_some(), "{difference:?}");
            if let (Some(difference), Some(expected)) = (difference, expected) {
                assert!(difference.contains(expected), "{difference}");
            }
        }
    }
}
