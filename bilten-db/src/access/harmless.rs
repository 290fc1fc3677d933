//! What may stand before a bracket in a statement that surely changes nothing.

use std::cmp::Ordering;
use std::sync::LazyLock;

/// Whether it is a word of the language, or a function that the servers bring along and that changes nothing.
pub(super) fn is_harmless(word: &str) -> bool {
    KNOWN.binary_search_by(|known| compare(known, word)).is_ok()
}

/// Whether two words in a row are of the language, the second of which may be the name of anything by itself.
pub(super) fn is_phrase(first: &str, second: &str) -> bool {
    PHRASES
        .iter()
        .any(|(one, other)| second.eq_ignore_ascii_case(other) && first.eq_ignore_ascii_case(one))
}

/// In order, so that a word is found by about nine looks.
static KNOWN: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    let all = [WORDS, TYPES, FUNCTIONS, JSON, GIS, MYSQL, SQLITE];
    let mut known: Vec<_> = all
        .iter()
        .flat_map(|words| words.split_ascii_whitespace())
        .collect();
    known.sort_unstable();
    known
});

/// `known` is in lower case.
fn compare(known: &str, word: &str) -> Ordering {
    let word = word.bytes().map(|byte| byte.to_ascii_lowercase());
    known.bytes().cmp(word)
}

const PHRASES: [(&str, &str); 12] = [
    ("time", "zone"),
    ("fetch", "first"),
    ("fetch", "next"),
    ("similar", "to"),
    ("force", "index"),
    ("force", "key"),
    ("use", "index"),
    ("use", "key"),
    ("ignore", "index"),
    ("ignore", "key"),
    ("tablesample", "system"),
    ("tablesample", "bernoulli"),
];

/// Words of the language.
const WORDS: &str = "
    all and any array as between by case cast cube distinct div else end escape except exists extract filter from
    group grouping having ilike in intersect interval join lateral like limit materialized not offset on only
    or over overlaps overlay position regexp rlike rollup row select sets some straight_join substring table then
    trim union using values when where with within xor
";

/// Functions of PostgreSQL, most of them everywhere.
const FUNCTIONS: &str = "
    abs acos age any_value array_agg array_append array_cat array_dims array_fill array_length array_lower
    array_ndims array_position array_positions array_prepend array_remove array_replace array_to_json
    array_to_string array_upper ascii asin atan atan2 avg bit_and bit_count bit_length bit_or bit_xor bool_and
    bool_or broadcast btrim cardinality cbrt ceil ceiling char_length character_length chr clock_timestamp
    coalesce concat concat_ws corr cos count covar_pop covar_samp crypt cume_dist current_database
    current_schema current_schemas current_setting date date_bin date_part date_trunc daterange decode degrees
    dense_rank digest encode every exp family first_value floor format format_type gcd gen_random_uuid
    generate_series generate_subscripts greatest has_table_privilege hmac host inet_server_addr
    inet_server_port initcap int4range int8range isempty isfinite justify_days justify_hours justify_interval
    lag last_value lcm lead least left length levenshtein ln log log10 lower lower_inc lower_inf lpad ltrim
    make_date make_interval make_time make_timestamp make_timestamptz masklen max md5 metaphone min mod mode
    multirange netmask network now nth_value ntile nullif num_nonnulls num_nulls numnode numrange
    obj_description octet_length percent_rank percentile_cont percentile_disc pg_backend_pid pg_column_size
    pg_database_size pg_get_constraintdef pg_get_expr pg_get_indexdef pg_get_viewdef pg_is_in_recovery
    pg_postmaster_start_time pg_relation_size pg_size_pretty pg_sleep pg_table_is_visible pg_table_size
    pg_total_relation_size pg_typeof phraseto_tsquery pi plainto_tsquery power quote_ident quote_literal
    quote_nullable radians random range_agg range_merge rank regexp_count regexp_instr regexp_like
    regexp_match regexp_matches regexp_replace regexp_split_to_array regexp_split_to_table regexp_substr
    repeat replace reverse right round row_number rpad rtrim scale setweight sha224 sha256 sha384 sha512 sign
    similarity sin split_part sqrt starts_with statement_timestamp stddev stddev_pop stddev_samp
    strict_word_similarity string_agg string_to_array string_to_table strip strpos substr sum tan time
    timeofday timestamp timestamptz timezone to_ascii to_char to_date to_hex to_number to_regclass
    to_timestamp to_tsquery to_tsvector transaction_timestamp translate trim_array trim_scale trunc
    ts_headline ts_rank ts_rank_cd ts_rewrite tsrange tstzrange unaccent unnest upper upper_inc upper_inf
    uuidv4 uuidv7 var_pop var_samp variance version websearch_to_tsquery width_bucket word_similarity
";

/// Functions that take values of JSON apart and put them together.
const JSON: &str = "
    json_agg json_array json_array_elements json_array_elements_text json_array_length json_arrayagg
    json_arrow json_build_array json_build_object json_contains json_contains_path json_depth json_each
    json_each_text json_exists json_extract json_extract_path json_extract_path_text json_group_array
    json_group_object json_insert json_keys json_length json_merge_patch json_merge_preserve json_object
    json_object_agg json_object_keys json_objectagg json_overlaps json_patch json_populate_record
    json_populate_recordset json_pretty json_query json_quote json_remove json_replace json_scalar json_search
    json_serialize json_set json_strip_nulls json_table json_to_record json_to_recordset json_tree json_type
    json_typeof json_unquote json_valid json_value jsonb_agg jsonb_array_elements jsonb_array_elements_text
    jsonb_array_length jsonb_build_array jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists
    jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first jsonb_populate_record
    jsonb_populate_recordset jsonb_pretty jsonb_set jsonb_set_lax jsonb_strip_nulls jsonb_to_record
    jsonb_to_recordset jsonb_typeof row_to_json to_json to_jsonb
";

/// Functions of PostGIS; some of them MySQL's too.
const GIS: &str = "
    earth_box earth_distance ll_to_earth st_area st_asbinary st_asewkt st_asgeojson st_astext st_azimuth
    st_buffer st_centroid st_collect st_contains st_coveredby st_covers st_crosses st_disjoint st_distance
    st_distance_sphere st_distancesphere st_dwithin st_envelope st_equals st_expand st_extent
    st_geogfromtext st_geomfromgeojson st_geomfromtext st_intersection st_intersects st_isvalid st_length
    st_makeenvelope st_makeline st_makepoint st_npoints st_numpoints st_overlaps st_perimeter st_point
    st_pointfromtext st_setsrid st_simplify st_srid st_touches st_transform st_union st_within st_x st_y
";

/// Types with a length.
const TYPES: &str = "
    bigint binary bit boolean char character decimal double float int integer json jsonb nchar numeric
    nvarchar precision real smallint text varbinary varchar varying
";

/// Functions of MySQL and MariaDB.
const MYSQL: &str = "
    adddate addtime bin bin_to_uuid char_length connection_id conv convert convert_tz crc32 curdate current_date
    current_time current_timestamp current_user curtime database date_add date_format date_sub datediff day
    dayname dayofmonth dayofweek dayofyear elt field find_in_set from_base64 from_days from_unixtime
    group_concat hex hour if ifnull inet6_aton inet6_ntoa inet_aton inet_ntoa instr is_uuid isnull
    last_day lcase localtime localtimestamp locate log2 makedate maketime microsecond mid minute month
    monthname nullif oct ord period_add period_diff pow quarter quote rand sec_to_time second sha sha1 sha2
    sleep soundex space std str_to_date strcmp subdate substring_index subtime sysdate time_format
    time_to_sec timediff timestampadd timestampdiff to_base64 to_days to_seconds ucase unhex
    unix_timestamp user utc_date utc_time utc_timestamp uuid uuid_to_bin week weekday weekofyear
    weight_string year yearweek
";

/// Functions of SQLite.
const SQLITE: &str = "
    bm25 concat_ws datetime glob group_concat highlight iif julianday likelihood likely match printf randomblob
    snippet sqlite_version strftime total typeof unicode unixepoch unlikely zeroblob
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_found_however_it_is_written() {
        for word in ["abs", "Count", "JSONB_SET", "zeroblob", "xor", "st_within"] {
            assert!(is_harmless(word), "{word}");
        }
        for word in [
            "",
            "a",
            "record_visit",
            "coun",
            "counts",
            "insert",
            "größe",
            "zzz",
        ] {
            assert!(!is_harmless(word), "{word}");
        }
        assert!(KNOWN.iter().all(|word| *word == word.to_ascii_lowercase()));
    }
}
