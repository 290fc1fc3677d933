//! What may stand before a bracket in a statement that surely changes nothing.

/// Whether it is a word of the language, or a function that the servers bring along and that changes nothing.
pub(super) fn is_harmless(word: &str) -> bool {
    let all = [WORDS, TYPES, FUNCTIONS, MYSQL, SQLITE];
    let mut known = all.iter().flat_map(|words| words.split_ascii_whitespace());
    known.any(|known| known.eq_ignore_ascii_case(word))
}

/// Words of the language.
const WORDS: &str = "
    all and any array as between by case cast cube distinct else end except exists extract filter from
    grouping having ilike in intersect interval join lateral like limit materialized not offset on only
    or over overlay position rollup row select sets some substring table then trim union using values
    when where with within
";

/// Functions of PostgreSQL, most of them everywhere.
const FUNCTIONS: &str = "
    abs age array_agg array_length array_to_json array_to_string avg bool_and bool_or btrim cardinality
    ceil ceiling char_length character_length clock_timestamp coalesce concat concat_ws count cume_dist
    current_database current_schema current_setting date date_bin date_part date_trunc dense_rank every
    exp first_value floor format gen_random_uuid generate_series greatest inet_server_port initcap
    json_agg json_array_elements json_build_array json_build_object json_object_agg jsonb_agg
    jsonb_array_elements jsonb_build_array jsonb_build_object jsonb_each jsonb_object_agg
    jsonb_path_exists jsonb_typeof lag last_value lead least left length ln log lower lpad ltrim
    make_date make_interval max md5 min mod now nth_value ntile nullif octet_length percent_rank
    percentile_cont percentile_disc pg_backend_pid pg_is_in_recovery pg_sleep phraseto_tsquery
    plainto_tsquery power random rank regexp_match regexp_matches regexp_replace repeat replace reverse
    right round row_number row_to_json rpad rtrim sign similarity split_part sqrt st_asgeojson
    st_contains st_distance st_dwithin st_intersects st_makepoint st_setsrid st_within st_x st_y
    statement_timestamp stddev string_agg string_to_array strpos substr sum time timestamp timestamptz
    to_char to_date to_json to_jsonb to_number to_timestamp to_tsquery to_tsvector translate trunc
    ts_headline ts_rank ts_rank_cd unaccent unnest upper variance version websearch_to_tsquery
    word_similarity
";

/// Types with a length.
const TYPES: &str = "
    bigint binary bit boolean char character decimal double float int integer json jsonb numeric real
    smallint text varbinary varchar
";

/// Functions of MySQL and MariaDB.
const MYSQL: &str = "
    ascii connection_id convert curdate curtime database date_add date_format date_sub datediff day
    dayofweek dayofyear field find_in_set from_unixtime group_concat hex hour if ifnull iif instr isnull
    json_array json_contains json_extract json_length json_object json_unquote json_value last_day
    locate mid minute month quarter second sleep str_to_date timestampdiff unhex unix_timestamp user
    week weekday year
";

/// Functions of SQLite.
const SQLITE: &str = "
    bm25 datetime glob highlight json_each json_group_array json_group_object json_tree julianday match
    printf snippet strftime total typeof unixepoch
";
