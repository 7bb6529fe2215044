"""What a query may contain: node kinds and functions by sqlglot's names, other functions by name and dialect.

A function is listed if it reads only its arguments, writes nothing, does not wait, and can't turn a small value into a
large one.
"""

from __future__ import annotations

_NODES = """
    Select Union Intersect Except Subquery From Join Where Group Having Order Ordered Limit Offset With CTE
    Table TableAlias Identifier Column Star Alias Literal Null Boolean Paren Tuple Distinct Window WindowSpec
    Case If Between In Exists And Or Not EQ NEQ GT GTE LT LTE Is Like ILike Add Sub Mul Div Mod IntDiv Neg DPipe
    Cast TryCast DataType DataTypeParam Interval IntervalSpan Var Filter Escape NullSafeEQ NullSafeNEQ Extract
    WithinGroup Rollup Cube GroupingSets Qualify CurrentDate CurrentTimestamp CurrentTime IgnoreNulls
    RespectNulls Any All Collate AtTimeZone Nullif Xor
    BitwiseAnd BitwiseOr BitwiseXor BitwiseNot BitwiseLeftShift BitwiseRightShift
    JSONPath JSONPathRoot JSONPathKey JSONPathSubscript JSONValue Glob SimilarTo Bracket Slice
"""
_FUNCTIONS = """
    Count CountIf Sum Avg Min Max Abs Round Ceil Floor Trunc Coalesce Nullif Lower Upper Length Substring Trim
    Concat ConcatWs StrPosition Left Right Sqrt Pow Exp Ln Log Greatest Least Sign RowNumber Rank DenseRank
    PercentRank CumeDist Ntile Lag Lead FirstValue LastValue NthValue DateTrunc TimestampTrunc TimeToStr
    StrToTime StrToDate TsOrDsToDate TsOrDsToTimestamp TsOrDsAdd TsOrDsDiff DateAdd DateSub DateDiff DatetimeAdd
    DatetimeSub DatetimeDiff DatetimeTrunc TimestampAdd TimestampSub TimestampDiff Date Time Timestamp Datetime
    Year Month Day Week DayOfWeek DayOfMonth DayOfYear WeekOfYear Quarter LastDay ToChar GroupConcat Stddev
    StddevPop StddevSamp Variance VariancePop Median Mode PercentileCont PercentileDisc Quantile ApproxQuantile
    ApproxDistinct Corr CovarPop CovarSamp AnyValue ArgMax ArgMin LogicalOr LogicalAnd Initcap Replace Contains
    StartsWith EndsWith UnixToTime DateFromParts MakeInterval Age CurrentDate CurrentTimestamp CurrentTime
    CurrentDatetime Extract If Case Cast TryCast ToDays Hour Minute Second RegrSlope RegrIntercept Mod JulianDay
    DayName MonthName YearOfWeek DayOfWeekIso TimestampFromParts TimeSub TimeAdd TimeDiff Unicode Chr Cbrt IsNan
    IsInf SafeDivide Exists And Or Any All
    JSONExtract JSONExtractScalar JSONBExtract JSONBExtractScalar JSONBContains JSONBContainsTopKey JSONType
    JSONKeys JSONArrayAgg ArrayAgg ArraySize ArrayContains ArrayContainsAll Format Pad Repeat Space Reverse Translate
    SplitPart SubstringIndex Elt NumberToStr ToNumber Hex Ascii Soundex Levenshtein RegexpLike RegexpILike
    RegexpExtract RegexpReplace Pi Sin Cos Tan Asin Acos Atan Atan2 Radians Degrees First Last Skewness Kurtosis
    WidthBucket Dayname Monthname DateBin JustifyDays JustifyHours JustifyInterval TimeToUnix Typeof
"""
_COMMON = """
    rank dense_rank percent_rank cume_dist mod ifnull nvl stddev variance date_part isfinite power degrees
    radians
"""
_SQLITE = """
    date datetime iif instr julianday likely ltrim octet_length printf quote rtrim strftime substr time timediff total
    unixepoch unlikely json_array_length json_valid
"""
_POSTGRES = """
    age bool_and bool_or btrim date_bin div every justify_days make_date num_nonnulls num_nulls split_part
    strpos substr to_char to_date to_timestamp width_bucket cardinality timezone regexp_match json_array_length
    jsonb_array_length json_typeof jsonb_typeof json_extract_path jsonb_extract_path jsonb_extract_path_text
"""
_MYSQL = """
    curdate date_format dayname from_unixtime instr last_day locate makedate mid monthname period_diff quarter
    std str_to_date substr timestampadd timestampdiff truncate unix_timestamp week weekday yearweek
    addtime conv crc32 field find_in_set json_contains json_length json_search json_unquote json_valid now sec_to_time
    strcmp time_to_sec timediff microsecond
"""
_DUCKDB = """
    century date_add date_diff date_sub datediff dayname decade entropy epoch favg fsum geomean histogram_exact
    instr isodow last_day mad monthname product strftime substr weekday
    histogram json_array_length json_valid json_value julian now printf strip_accents yearweek age datepart
"""
NODES = frozenset(_NODES.split())
FUNCTIONS = frozenset(_FUNCTIONS.split())
CALLS: dict[str, frozenset[str]] = {
    "sqlite": frozenset((_COMMON + _SQLITE).split()),
    "postgres": frozenset((_COMMON + _POSTGRES).split()),
    "mysql": frozenset((_COMMON + _MYSQL).split()),
    "duckdb": frozenset((_COMMON + _DUCKDB).split()),
}
