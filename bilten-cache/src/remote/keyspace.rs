/// The names under which a cache keeps its things in the shared store.
///
/// A value and its lease carry the same hash tag, so they share a slot of a Redis Cluster; log and
/// markers share another. Redis Cluster takes the text between the first `{` and `}` as the tag, and
/// encoded keys contain neither.
///
/// ```
/// use bilten_cache::remote::Keyspace;
///
/// let names = Keyspace::new("shop");
/// assert_eq!(names.value("event:42"), "shop:v:{event:42}");
/// assert_eq!(names.key_of_value("shop:v:{event:42}"), Some("event:42"));
/// assert_eq!(names.log(), "{shop}:log");
/// ```
#[derive(Debug, Clone)]
pub struct Keyspace {
    name: String,
    log: String,
    meta: String,
    demands: String,
}

impl Keyspace {
    /// The names of the cache `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            log: format!("{{{name}}}:log"),
            meta: format!("{{{name}}}:meta"),
            demands: format!("{{{name}}}:src"),
        }
    }

    /// Where the value of an encoded key is.
    #[must_use]
    pub fn value(&self, key: &str) -> String {
        [&self.name, ":v:{", key, "}"].concat()
    }

    /// The encoded key whose value has this name.
    #[must_use]
    pub fn key_of_value<'a>(&self, name: &'a str) -> Option<&'a str> {
        let rest = name.strip_prefix(self.name.as_str())?;
        rest.strip_prefix(":v:{")?.strip_suffix('}')
    }

    /// Where the lease of an encoded key is.
    #[must_use]
    pub fn lease(&self, key: &str) -> String {
        [&self.name, ":l:{", key, "}"].concat()
    }

    /// The writes of an encoded key's source that are under way.
    #[must_use]
    pub fn writes(&self, key: &str) -> String {
        [&self.name, ":w:{", key, "}"].concat()
    }

    /// Where it stands what loads of an encoded key must reflect.
    #[must_use]
    pub fn demand(&self, key: &str) -> String {
        [&self.name, ":s:{", key, "}"].concat()
    }

    /// Where it stands what loads of any key must reflect.
    #[must_use]
    pub fn demands(&self) -> &str {
        &self.demands
    }

    /// The stream of invalidations.
    #[must_use]
    pub fn log(&self) -> &str {
        &self.log
    }

    /// The hash with incarnation, position and markers.
    #[must_use]
    pub fn meta(&self) -> &str {
        &self.meta
    }
}
