use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::Pattern;
use crate::remote::Scope;

/// True globs are tried one by one, so there are few; above this the widest literal prefix stands in.
const MAX_GLOBS: usize = 256;
/// Sets of tags that begin with the same one; above this that tag stands in for those that come.
const MAX_SETS: usize = 256;
/// Prefixes, tags and sets of them that are remembered; above this they become one marker on everything.
const MAX_MARKERS: usize = 65_536;

/// Tags of which an entry must carry all, and the position.
type Set = (Arc<[Arc<str>]>, u64);

/// Which keys, tags and patterns were invalidated at which position of the log.
///
/// Pure: it knows positions and names, nothing of time, locks or Redis. It grows with the
/// number of different scopes, never with the number of keys they hit, and when it is full it
/// invalidates more than was asked, never less.
#[derive(Debug, Default)]
pub(crate) struct Markers {
    all: u64,
    newest_tag: u64,
    tags: HashMap<Arc<str>, u64>,
    /// Tags that count together, by the first of them.
    sets: HashMap<Arc<str>, Vec<Set>>,
    /// By length, so that a key is looked up once per length that occurs.
    prefixes: BTreeMap<usize, HashMap<Arc<str>, u64>>,
    globs: Vec<(Pattern, u64)>,
    count: usize,
    overflows: u64,
}

impl Markers {
    /// Notes that `scope` was invalidated at `position`. Positions only ever rise.
    pub(crate) fn mark(&mut self, scope: &Scope, position: u64) {
        match scope {
            Scope::Key(_) | Scope::Expired(_) => {}
            Scope::All => self.all = self.all.max(position),
            Scope::Tag(tag) => {
                self.newest_tag = self.newest_tag.max(position);
                raise(&mut self.tags, tag, position, &mut self.count);
            }
            Scope::Tags(tags) => {
                self.newest_tag = self.newest_tag.max(position);
                self.mark_set(tags, position);
            }
            Scope::Pattern(pattern) => self.mark_pattern(pattern, position),
        }
        if self.count > MAX_MARKERS {
            self.collapse();
        }
    }

    fn mark_set(&mut self, tags: &Arc<[Arc<str>]>, position: u64) {
        // Of none, which no version writes, it would be everything.
        let Some(first) = tags.first() else {
            self.all = self.all.max(position);
            return;
        };
        let sets = self.sets.entry(Arc::clone(first)).or_default();
        if let Some(known) = sets.iter_mut().find(|(set, _)| set == tags) {
            known.1 = known.1.max(position);
        } else if sets.len() < MAX_SETS {
            sets.push((Arc::clone(tags), position));
            self.count += 1;
        } else {
            self.overflows += 1;
            raise(&mut self.tags, first, position, &mut self.count);
        }
    }

    fn mark_pattern(&mut self, pattern: &Pattern, position: u64) {
        if let Some(prefix) = pattern.as_prefix() {
            return self.mark_prefix(prefix, position);
        }
        if let Some(known) = self.globs.iter_mut().find(|(glob, _)| glob == pattern) {
            known.1 = known.1.max(position);
        } else if self.globs.len() < MAX_GLOBS {
            self.globs.push((pattern.clone(), position));
        } else {
            self.overflows += 1;
            self.mark_prefix(pattern.literal(), position);
        }
    }

    fn mark_prefix(&mut self, prefix: &Arc<str>, position: u64) {
        if prefix.is_empty() {
            self.all = self.all.max(position);
        } else {
            raise(
                self.prefixes.entry(prefix.len()).or_default(),
                prefix,
                position,
                &mut self.count,
            );
        }
    }

    fn collapse(&mut self) {
        let overflows = self.overflows + 1;
        let all = self.newest();
        *self = Self {
            all,
            newest_tag: all,
            overflows,
            ..Self::default()
        };
    }

    /// The newest position of any marker.
    fn newest(&self) -> u64 {
        let prefixes = self
            .prefixes
            .values()
            .flat_map(|same_length| same_length.values());
        let globs = self.globs.iter().map(|(_, position)| position);
        [&self.all, &self.newest_tag]
            .into_iter()
            .chain(prefixes)
            .chain(globs)
            .copied()
            .max()
            .unwrap_or(0)
    }

    /// The newest position at which a scope that takes this key or one of its tags was invalidated.
    pub(crate) fn newest_for<'t>(
        &self,
        key: &str,
        tags: impl IntoIterator<Item = &'t Arc<str>, IntoIter: Clone>,
    ) -> u64 {
        let mut newest = self.newest_for_key(key);
        let tags = tags.into_iter();
        if !self.tags.is_empty() {
            let single = tags.clone().filter_map(|tag| self.tags.get(tag));
            newest = single.copied().fold(newest, u64::max);
        }
        if !self.sets.is_empty() {
            let sets = self.sets_of(tags).map(|(_, position)| *position);
            newest = sets.fold(newest, u64::max);
        }
        newest
    }

    /// The sets of which all tags are among these.
    fn sets_of<'t>(
        &self,
        tags: impl Iterator<Item = &'t Arc<str>> + Clone,
    ) -> impl Iterator<Item = &Set> {
        let all = tags.clone();
        let begun = tags.filter_map(|tag| self.sets.get(tag)).flatten();
        begun.filter(move |(set, _)| {
            let is_there = |wanted| all.clone().any(|tag| tag == wanted);
            set.iter().all(is_there)
        })
    }

    /// As [`newest_for`](Self::newest_for), for a load whose tags are not known yet: any tag counts.
    pub(crate) fn newest_for_load(&self, key: &str) -> u64 {
        self.newest_for_key(key).max(self.newest_tag)
    }

    fn newest_for_key(&self, key: &str) -> u64 {
        let mut newest = self.all;
        if self.prefixes.is_empty() && self.globs.is_empty() {
            return newest;
        }
        for (length, same_length) in self.prefixes.range(..=key.len()) {
            if let Some(position) = key
                .get(..*length)
                .and_then(|prefix| same_length.get(prefix))
            {
                newest = newest.max(*position);
            }
        }
        for (glob, position) in &self.globs {
            if *position > newest && glob.matches(key) {
                newest = *position;
            }
        }
        newest
    }

    /// What [`newest_for`](Self::newest_for) found, in words. For people: it may look at everything and allocate.
    pub(crate) fn decider(&self, key: &str, tags: &[Arc<str>]) -> (String, u64) {
        let all = std::iter::once(("everything".to_owned(), self.all));
        let sets = self.sets_of(tags.iter());
        let sets = sets.map(|(set, at)| (format!("tags {}", set.join(" and ")), *at));
        let tags = tags
            .iter()
            .filter_map(|tag| Some((format!("tag {tag}"), *self.tags.get(tag)?)));
        let prefixes = self
            .prefixes
            .values()
            .flatten()
            .filter(|(prefix, _)| key.starts_with(&***prefix))
            .map(|(prefix, at)| (format!("pattern {prefix}*"), *at));
        let globs = self.globs.iter().filter(|(glob, _)| glob.matches(key));
        let globs = globs.map(|(glob, at)| (format!("pattern {}", glob.source()), *at));
        all.chain(tags)
            .chain(sets)
            .chain(prefixes)
            .chain(globs)
            .max_by_key(|(_, at)| *at)
            .unwrap_or_default()
    }

    /// Forgets markers at or below `position`, which nothing that is still alive should be older than. What is
    /// older all the same counts as invalidated.
    pub(crate) fn prune(&mut self, position: u64) {
        self.all = self.all.max(position);
        self.tags.retain(|_, at| *at > position);
        self.sets.retain(|_, sets| {
            sets.retain(|(_, at)| *at > position);
            !sets.is_empty()
        });
        self.prefixes.retain(|_, same_length| {
            same_length.retain(|_, at| *at > position);
            !same_length.is_empty()
        });
        self.globs.retain(|(_, at)| *at > position);
        let sets = self.sets.values().map(Vec::len);
        let prefixes = self.prefixes.values().map(HashMap::len);
        self.count = self.tags.len() + sets.chain(prefixes).sum::<usize>();
    }

    pub(crate) fn len(&self) -> usize {
        self.count + self.globs.len() + usize::from(self.all > 0)
    }

    /// One on everything stands for some that nobody had time to read.
    pub(crate) fn were_cut_short(&mut self) {
        self.overflows += 1;
    }

    /// How often a limit made an invalidation wider than it was.
    pub(crate) fn overflows(&self) -> u64 {
        self.overflows
    }
}

fn raise(map: &mut HashMap<Arc<str>, u64>, name: &Arc<str>, position: u64, count: &mut usize) {
    if let Some(known) = map.get_mut(name) {
        *known = position.max(*known);
    } else {
        map.insert(Arc::clone(name), position);
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decider_is_the_marker_that_is_newest() {
        let mut markers = Markers::default();
        let tags = [Arc::from("berlin")];
        assert_eq!(markers.decider("events:list:1", &tags).1, 0);
        for (position, scope, name) in [
            (1, Scope::All, "everything"),
            (2, Scope::Tag("berlin".into()), "tag berlin"),
            (
                3,
                Scope::Pattern(Pattern::prefix("events:")),
                "pattern events:*",
            ),
            (
                4,
                Scope::Pattern(Pattern::glob("events:*:1").unwrap()),
                "pattern events:*:1",
            ),
            (5, Scope::Tag("paris".into()), "pattern events:*:1"),
            (6, Scope::All, "everything"),
        ] {
            markers.mark(&scope, position);
            let (by, at) = markers.decider("events:list:1", &tags);
            assert_eq!(
                (by.as_str(), at),
                (name, markers.newest_for("events:list:1", &tags))
            );
        }
    }

    fn pattern(text: &str) -> Scope {
        Scope::Pattern(Pattern::glob(text).unwrap())
    }

    fn tags(names: &[&str]) -> Vec<Arc<str>> {
        names.iter().map(|name| Arc::from(*name)).collect()
    }

    #[test]
    fn the_newest_matching_scope_decides() {
        let mut markers = Markers::default();
        markers.mark(&pattern("events:list:*"), 3);
        markers.mark(&pattern("events:*"), 2);
        markers.mark(&pattern("events:*:7"), 5);
        markers.mark(&Scope::Tag("berlin".into()), 4);
        markers.mark(&Scope::Key("events:list:1".into()), 99);
        for (key, with, expected) in [
            ("events:list:1", &[][..], 3),
            ("events:list:7", &[], 5),
            ("events:detail:1", &[], 2),
            ("other:1", &[], 0),
            ("other:1", &["berlin"], 4),
            ("events:list:1", &["paris", "berlin"], 4),
        ] {
            assert_eq!(
                markers.newest_for(key, &tags(with)),
                expected,
                "{key} {with:?}"
            );
        }
        markers.mark(&Scope::All, 6);
        assert_eq!(markers.newest_for("other:1", &[]), 6);
    }

    #[test]
    fn a_set_of_tags_takes_what_carries_all_of_them() {
        let mut markers = Markers::default();
        markers.mark(&Scope::all_of(["jazz", "berlin"]), 3);
        markers.mark(&Scope::all_of(["berlin", "free", "jazz"]), 5);
        markers.mark(&Scope::all_of(["jazz", "paris"]), 4);
        for (with, expected) in [
            (&["berlin"][..], 0),
            (&["jazz"], 0),
            (&["berlin", "free"], 0),
            (&["jazz", "berlin"], 3),
            (&["x", "jazz", "y", "berlin"], 3),
            (&["free", "berlin", "jazz"], 5),
            (&["paris", "berlin", "jazz"], 4),
        ] {
            assert_eq!(markers.newest_for("a", &tags(with)), expected, "{with:?}");
        }
        assert_eq!(markers.newest_for_load("a"), 5, "its tags are not known");
        let (by, at) = markers.decider("a", &tags(&["jazz", "berlin"]));
        assert_eq!((by.as_str(), at), ("tags berlin and jazz", 3));
        assert_eq!(markers.len(), 3);
        markers.prune(4);
        assert_eq!(markers.len(), 2, "one set, and one on everything");
        assert_eq!(markers.newest_for("a", &tags(&["paris", "jazz"])), 4);
        assert_eq!(
            markers.newest_for("a", &tags(&["free", "berlin", "jazz"])),
            5
        );
    }

    #[test]
    fn too_many_sets_of_one_tag_widen_to_that_tag() {
        let mut markers = Markers::default();
        for n in 0..=MAX_SETS as u64 {
            markers.mark(
                &Scope::all_of(["berlin".to_owned(), format!("n{n}")]),
                n + 1,
            );
        }
        let newest = MAX_SETS as u64 + 1;
        assert_eq!(markers.newest_for("a", &tags(&["berlin"])), newest);
        assert_eq!(markers.newest_for("a", &tags(&["n1"])), 0);
        assert_eq!(markers.overflows(), 1);
    }

    #[test]
    fn an_older_record_never_lowers_a_marker() {
        let mut markers = Markers::default();
        for position in [5, 3] {
            markers.mark(&pattern("a*"), position);
            markers.mark(&pattern("a*b"), position);
            markers.mark(&Scope::Tag("t".into()), position);
            markers.mark(&Scope::all_of(["u", "v"]), position);
            markers.mark(&Scope::All, position);
        }
        assert_eq!(markers.newest_for("ab", &tags(&["t"])), 5);
        assert_eq!(markers.newest_for("x", &tags(&["u", "v"])), 5);
        assert_eq!(markers.newest_for("x", &[]), 5);
    }

    #[test]
    fn a_prefix_never_cuts_a_character() {
        let mut markers = Markers::default();
        markers.mark(&Scope::Pattern(Pattern::prefix("aü")), 1);
        markers.mark(&Scope::Pattern(Pattern::prefix("ab")), 2);
        assert_eq!(markers.newest_for("aüx", &[]), 1);
        assert_eq!(markers.newest_for("aß", &[]), 0);
    }

    #[test]
    fn too_many_globs_widen_to_their_literal_prefix() {
        let mut markers = Markers::default();
        for n in 0..=MAX_GLOBS as u64 {
            markers.mark(&pattern(&format!("events:{n}:*:x")), n + 1);
        }
        assert_eq!(
            markers.newest_for(&format!("events:{MAX_GLOBS}:other"), &[]),
            MAX_GLOBS as u64 + 1
        );
        assert_eq!(markers.overflows(), 1);
    }

    #[test]
    fn too_many_scopes_become_one_marker_on_everything() {
        let mut markers = Markers::default();
        for n in 0..=MAX_MARKERS as u64 {
            markers.mark(&Scope::Tag(n.to_string().into()), n + 1);
        }
        assert_eq!(markers.newest_for("untagged", &[]), MAX_MARKERS as u64 + 1);
        assert_eq!((markers.len(), markers.overflows()), (1, 1));
    }

    #[test]
    fn pruning_forgets_only_what_is_old() {
        let mut markers = Markers::default();
        markers.mark(&pattern("a*"), 1);
        markers.mark(&pattern("b*"), 2);
        markers.mark(&Scope::Tag("t".into()), 1);
        markers.prune(1);
        assert_eq!(
            (
                markers.newest_for("a", &tags(&["t"])),
                markers.newest_for("b", &[])
            ),
            (1, 2)
        );
        assert_eq!(
            markers.len(),
            2,
            "the pattern that is left, and one on everything"
        );
    }
}
