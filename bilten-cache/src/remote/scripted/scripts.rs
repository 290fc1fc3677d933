//! What runs inside the server. Each script touches the keys of one slot only, except the two that are
//! marked, which a cluster replaces by their two halves.

/// Records kept for nodes that were away; who misses more starts over.
const LOG_LENGTH: u32 = 100_000;
/// Scopes kept; more become one marker on everything.
const MARKERS: u32 = 50_000;
/// Records from one look at both bounds to the next.
const EVERY: u32 = 64;

/// The scripts, in the form in which a client keeps them.
#[derive(Debug)]
pub(super) struct Scripts<S> {
    pub(super) lease: S,
    pub(super) store: S,
    pub(super) renew: S,
    pub(super) release: S,
    /// Value, lease and log in one step: not on a cluster.
    pub(super) claim: S,
    /// Value, lease and log in one step: not on a cluster.
    pub(super) remove: S,
    /// The same for many keys: not on a cluster.
    pub(super) claim_many: S,
    pub(super) remove_many: S,
    pub(super) store_many: S,
    pub(super) begin_write: S,
    pub(super) end_write: S,
    pub(super) seize: S,
    /// Value, lease and log in one step: not on a cluster.
    pub(super) expire: S,
    pub(super) unlink: S,
    pub(super) mark_expired: S,
    pub(super) append: S,
    pub(super) demand: S,
    pub(super) keep_demand: S,
    pub(super) snapshot: S,
    pub(super) markers: S,
    pub(super) pulse: S,
    pub(super) prune: S,
    pub(super) scan: S,
    pub(super) slots: S,
    pub(super) head: S,
    pub(super) discard: S,
}

impl<S> Scripts<S> {
    pub(super) fn new(script: impl Fn(String) -> S) -> Self {
        let log = append_function();
        let claim = format!(
            "{log} {OVERTAKE}
{SEIZE}
return append(KEYS[3], KEYS[4], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])"
        );
        let remove = format!(
            "{log}
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[5])
return append(KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])"
        );
        let claim_many = format!("{log} {OVERTAKE} {TOLD} {CLAIM_MANY}");
        let remove_many = format!("{log} {TOLD} {REMOVE_MANY}");
        let expire = format!(
            "{log} {EXPIRE}
return append(KEYS[3], KEYS[4], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])"
        );
        let append = format!(
            "{log} {NEEDS_NO_MEMORY}
return append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])"
        );
        let demand = format!(
            "{log} {KEEP} {NEEDS_NO_MEMORY}
local at, number = append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5])
if not number then return at end
return keep(KEYS[3], number, ARGV[6], ARGV[7], ARGV[8]) or at"
        );
        let keep_demand = format!(
            "{KEEP}
local foreign = keep(KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return foreign or 1"
        );
        Self {
            lease: script(LEASE.to_owned()),
            store: script(STORE.to_owned()),
            renew: script(RENEW.to_owned()),
            release: script(RELEASE.to_owned()),
            claim: script(claim),
            remove: script(remove),
            claim_many: script(claim_many),
            remove_many: script(remove_many),
            store_many: script(STORE_MANY.to_owned()),
            begin_write: script(BEGIN_WRITE.to_owned()),
            end_write: script(END_WRITE.to_owned()),
            seize: script(format!("{OVERTAKE} {SEIZE} return 1")),
            expire: script(expire),
            unlink: script("return redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3])".to_owned()),
            mark_expired: script([EXPIRE, " return 1"].concat()),
            append: script(append),
            demand: script(demand),
            keep_demand: script(keep_demand),
            snapshot: script([BEGIN, SNAPSHOT].concat()),
            markers: script(MARKER_PAGE.to_owned()),
            pulse: script(PULSE.to_owned()),
            prune: script(PRUNE.to_owned()),
            scan: script(
                "return redis.call('SCAN', ARGV[1], 'MATCH', ARGV[2], 'COUNT', ARGV[3])".to_owned(),
            ),
            slots: script("return redis.call('CLUSTER', 'SLOTS')".to_owned()),
            head: script("return redis.call('GETRANGE', KEYS[1], 0, ARGV[1])".to_owned()),
            discard: script(DISCARD.to_owned()),
        }
    }
}

/// KEYS value, lease, demand. ARGV token, hold in ms, `=` and how a value begins that does not count, or nothing. What never runs out is no
/// lease of ours, the one with our own token is ours (it was asked for twice), and a demand of another type may have asked for anything.
const LEASE: &str = "
local over = ARGV[3]
if over == '' or #over > 1 and redis.call('GETRANGE', KEYS[1], 0, #over - 2) ~= string.sub(over, 2) then
  local value = redis.call('GET', KEYS[1])
  if value then return value end
end
if not redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then
  if redis.pcall('GET', KEYS[2]) ~= ARGV[1] then
    if redis.call('PTTL', KEYS[2]) ~= -1 then return 0 end
    redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
  end
end
local demand = redis.pcall('GET', KEYS[3])
if type(demand) == 'table' then return {1, 'x x'} end
if demand then return {1, demand} end
return 1";

/// KEYS value, lease. ARGV token, envelope, keep in ms.
const STORE: &str = "
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('DEL', KEYS[2])
return 1";

/// Writes of the source that are under way were not alone, but for the own one. Under a key of another type there are none, and who asks
/// for its own is told.
const OVERTAKE: &str = "
local function overtake(writes, own)
  local there = redis.pcall('HGETALL', writes)
  for i = 1, #there, 2 do
    if there[i] ~= own then redis.call('HSET', writes, there[i], '0 ' .. string.sub(there[i + 1], 3)) end
  end
end";

/// KEYS value, lease, writes at the end. ARGV token, hold in ms.
const SEIZE: &str = "
redis.call('UNLINK', KEYS[1])
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
overtake(KEYS[#KEYS], ARGV[1])";

/// What to say about one key of many whose record was refused: the others have theirs all the same.
const TOLD: &str = "
local function told(at)
  if type(at) == 'table' then return {at.err} end
  return at
end";

/// KEYS meta, log, then value, lease and writes of each. ARGV hold in ms, node, known, seen, then token, stamp and scope of each.
const CLAIM_MANY: &str = "
local said = {}
for i = 1, (#KEYS - 2) / 3 do
  local key, arg = 3 * i, 3 * i + 2
  redis.call('UNLINK', KEYS[key])
  redis.call('SET', KEYS[key + 1], ARGV[arg], 'PX', ARGV[1])
  overtake(KEYS[key + 2], ARGV[arg])
  said[i] = told(append(KEYS[1], KEYS[2], ARGV[2], ARGV[3], ARGV[4], ARGV[arg + 1], ARGV[arg + 2]))
end
return said";

/// KEYS meta, log, then value, lease and writes of each. ARGV node, known, seen, then stamp and scope of each.
const REMOVE_MANY: &str = "
local said = {}
for i = 1, (#KEYS - 2) / 3 do
  local key, arg = 3 * i, 2 * i + 2
  redis.call('UNLINK', KEYS[key], KEYS[key + 1], KEYS[key + 2])
  said[i] = told(append(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[arg], ARGV[arg + 1]))
end
return said";

/// KEYS value and lease of each. ARGV token, envelope and keep in ms of each.
const STORE_MANY: &str = "
local said = {}
for i = 1, #KEYS / 2 do
  local value, lease, arg = KEYS[2 * i - 1], KEYS[2 * i], 3 * i - 2
  if redis.call('GET', lease) == ARGV[arg] then
    redis.call('SET', value, ARGV[arg + 1], 'PX', ARGV[arg + 2])
    redis.call('DEL', lease)
    said[i] = 1
  else
    said[i] = 0
  end
end
return said";

/// KEYS writes: token, and `1` while no other write was seen, with its deadline. ARGV token, hold in ms.
const BEGIN_WRITE: &str = "
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local alone = 1
local there = redis.call('HGETALL', KEYS[1])
for i = 1, #there, 2 do
  local token, deadline = there[i], string.sub(there[i + 1], 3)
  if (tonumber(deadline) or 0) > now then
    alone = 0
    redis.call('HSET', KEYS[1], token, '0 ' .. deadline)
  else
    redis.call('HDEL', KEYS[1], token)
  end
end
redis.call('HSET', KEYS[1], ARGV[1], alone .. ' ' .. string.format('%.0f', now + tonumber(ARGV[2])))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return alone";

/// KEYS writes. ARGV token. Who is not there any more may have missed others.
const END_WRITE: &str = "
local own = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HDEL', KEYS[1], ARGV[1])
if own and string.sub(own, 1, 1) == '1' then return 1 end
return 0";

/// KEYS value, lease, writes at the end. Sets the byte that says expired, and leaves the rest of the envelope and its time as they are. Of another type it
/// is no value of ours, and goes. A full server takes scripts whose first write needs no memory.
const EXPIRE: &str = "
redis.call('DEL', KEYS[2], KEYS[#KEYS])
if redis.call('EXISTS', KEYS[1]) == 1 then
  local marked = redis.pcall('SETRANGE', KEYS[1], 4, string.char(128))
  if type(marked) == 'table' then redis.call('UNLINK', KEYS[1]) end
end";

/// KEYS lease. ARGV token, hold in ms.
const RENEW: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// KEYS lease. ARGV token.
const RELEASE: &str = "
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// Where the numbers of a new log begin: the server's time in microseconds, and above what the caller has seen of the old
/// one. Whoever still waits for the next record of the old log is woken by the first record of the new one
/// then, finds a gap and starts over, instead of waiting for the next sample. Exact in a Lua number until the year 2255.
const BEGIN: &str = "
local function begin(seen)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  if seen >= now and seen < 4503599627370496 then now = seen + 1 end
  return now
end
local function sound(inc, n)
  return inc and n and #inc <= 16 and #n <= 16 and string.match(inc, '^%x+$') and string.match(n, '^%d+$')
    and tonumber(n) < 9007199254740991
end";

/// Keeps a demand under a name: `deadline number:demand number:demand`, each with the number of its record. What the author knows is
/// taken in by its own demand. What there is no room for asks for the newest state, and so does what stood there and was no text: that
/// is an error as well, so that somebody hears of it.
const KEEP: &str = "
local function keep(name, number, known, demand, millis)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local deadline = string.format('%.0f', now + tonumber(millis))
  local kept, there = {}, redis.pcall('GET', name)
  local foreign = type(there) == 'table'
  if foreign then there, demand = false, '*' end
  for at, other in string.gmatch(there or '', '(%d+):(%S+)') do
    if tonumber(at) > tonumber(known) and at ~= number then kept[#kept + 1] = at .. ':' .. other end
  end
  if #kept >= 32 then kept, demand = {}, '*' end
  kept[#kept + 1] = number .. ':' .. demand
  redis.call('SET', name, deadline .. ' ' .. table.concat(kept, ' '))
  if foreign then return {err = 'WRONGTYPE another program wrote under ' .. name .. ', which was overwritten'} end
end";

/// KEYS meta, log, demands. ARGV a new incarnation, markers that go into one answer. Where there are more they are left out, and to be read
/// page by page, as the last answer says. Demands of another type may have been any; the one before it says whether they are.
const SNAPSHOT: &str = "
local at = redis.call('HMGET', KEYS[1], 'inc', 'n')
if not sound(at[1], at[2]) then
  redis.call('DEL', KEYS[1], KEYS[2])
  redis.call('HSET', KEYS[1], 'inc', ARGV[1], 'n', string.format('%.0f', begin(0)))
end
local time = redis.call('TIME')
local demands, foreign = redis.pcall('GET', KEYS[3]), 0
if type(demands) == 'table' then demands, foreign = 'x x', 1 end
local known, more = {}, 0
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[2]) then
  more = 1
  for _, name in ipairs({'inc', 'n', 'r'}) do
    local value = redis.call('HGET', KEYS[1], name)
    if value then
      known[#known + 1] = name
      known[#known + 1] = value
    end
  end
else
  known = redis.call('HGETALL', KEYS[1])
end
return {time[1], time[2], known, demands, foreign, more}";

/// KEYS meta. ARGV cursor, about how many. Markers that go while others read them raise the one on everything, which therefore comes with each
/// page: the last one has it as it is after all of them.
const MARKER_PAGE: &str = "
local page = redis.call('HSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local at = redis.call('HMGET', KEYS[1], 'inc', 'a:')
return {page[1], page[2], at[1], at[2]}";

/// KEYS meta, log. ARGV the id of a record.
const PULSE: &str = "
local time = redis.call('TIME')
local at = redis.call('HMGET', KEYS[1], 'inc', 'n')
local stamp = false
local there = redis.pcall('XRANGE', KEYS[2], ARGV[1], ARGV[1])
if there[1] then
  local fields = there[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'r' then stamp = fields[i + 1] end
  end
end
return {time[1], time[2], at[1], at[2], stamp}";

/// KEYS meta. ARGV position, life in ms, cursor. The marker on everything comes before the others go.
const PRUNE: &str = "
local known = tonumber(redis.call('HGET', KEYS[1], 'life') or '0') or 0
local position, life = tonumber(ARGV[1]), tonumber(ARGV[2])
if life > known then
  known = life
  redis.call('HSET', KEYS[1], 'life', ARGV[2])
end
if life < known then return {'0', known} end
local page = redis.call('HSCAN', KEYS[1], ARGV[3], 'COUNT', 200)
local old = {}
for i = 1, #page[2], 2 do
  local name, at = page[2][i], tonumber(page[2][i + 1])
  if name ~= 'a:' and string.find(name, ':', 1, true) and at and at <= position then
    old[#old + 1] = name
  end
end
if #old > 0 then
  local all = tonumber(redis.call('HGET', KEYS[1], 'a:') or '0') or 0
  if all < position then redis.call('HSET', KEYS[1], 'a:', ARGV[1]) end
  for i = 1, #old do redis.call('HDEL', KEYS[1], old[i]) end
end
return {page[1], known}";

/// KEYS value. ARGV its first bytes.
const DISCARD: &str = "
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) ~= ARGV[1] then return 0 end
return redis.call('UNLINK', KEYS[1])";

/// A full server takes scripts whose first write needs no memory. KEYS meta.
const NEEDS_NO_MEMORY: &str = "redis.call('HDEL', KEYS[1], '-')";

/// Appends one record, and returns what to answer and, where all is well, its number as text. Comes after a write that needs no memory,
/// so that a full server takes it too. It
/// begins a new incarnation when the log is gone or nothing that we wrote, or when its position has gone back under the incarnation that
/// the caller knows (an older copy took over): then the markers may be missing some, and every entry of the old
/// incarnation must count as a miss. Where another program wrote under the log's name the record is made, and an error told all the same:
/// the change is made once more, which does no harm, and somebody hears of it. Who may not write to the log changes nothing there: a number
/// without a record would be a gap to everybody else. Only where a new one has to begin anyway it takes the rest of the old one away, and everybody
/// begins with nothing.
///
/// Each command costs the server about as much as all the rest of a bare `XADD`, and so does a table as the answer. So there are three
/// commands, and what keeps log and markers short comes with one record of [`EVERY`] only.
fn append_function() -> String {
    format!(
        "{BEGIN}
local function bound(meta, number)
  if redis.call('HLEN', meta) <= {MARKERS} then return end
  local at = redis.call('HMGET', meta, 'inc', 'r', 'life')
  redis.call('DEL', meta)
  redis.call('HSET', meta, 'inc', at[1], 'n', number, 'r', at[2], 'life', at[3] or '0', 'a:', number)
end
local function append(meta, log, node, known, seen, fresh, scope)
  local at = redis.call('HMGET', meta, 'inc', 'n', 'r')
  local inc, n, before = at[1], tonumber(at[2]), at[3] or '0'
  if not sound(inc, at[2]) or (inc == known and n < tonumber(seen)) then
    inc, n, before = fresh, begin(tonumber(seen)), '0'
    redis.call('DEL', meta, log)
  end
  n = n + 1
  local number = string.format('%.0f', n)
  local id, added = number .. '-0'
  if n % {EVERY} == 0 then
    added = redis.pcall('XADD', log, 'MAXLEN', '~', {LOG_LENGTH}, id, 'w', node, 's', scope, 'r', fresh, 'p', before)
  else
    added = redis.pcall('XADD', log, id, 'w', node, 's', scope, 'r', fresh, 'p', before)
  end
  local failed = type(added) == 'table' and added.err
  local foreign = failed and string.find(failed, 'WRONGTYPE', 1, true)
  if failed then
    if not foreign and not string.find(failed, 'ID specified', 1, true) and not string.find(failed, 'exhausted', 1, true) then return added end
    redis.call('DEL', log)
    redis.call('XADD', log, id, 'w', node, 's', scope, 'r', fresh, 'p', before)
  end
  local kind = string.sub(scope, 1, 2)
  if kind == 'k:' or kind == 'x:' or kind == 's:' then
    redis.call('HSET', meta, 'inc', inc, 'n', number, 'r', fresh)
  else
    redis.call('HSET', meta, 'inc', inc, 'n', number, 'r', fresh, scope, number)
  end
  if n % {EVERY} == 0 then bound(meta, number) end
  if foreign then
    return {{err = 'WRONGTYPE another program wrote under ' .. log .. ', which begins anew'}}
  end
  return inc .. ' ' .. number, number
end"
    )
}
