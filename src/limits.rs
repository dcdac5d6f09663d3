//! Every limit, as a named constant with its reason.

/// Most dimensions of a vector: pgvector's limit for `vector`, so that no value it accepts is refused here.
pub const MAX_DIMENSIONS: usize = 16_000;
/// Most results of one query: keeps one reply below [`MAX_FRAME_BYTES`] and one query's memory bounded.
pub const MAX_TOP_K: usize = 10_000;
/// Most rows of one reply to a query, which a search of an index needs where the table hides most candidates: at less than
/// 100 bytes each they fit into [`MAX_FRAME_BYTES`].
pub const MAX_REPLY_ROWS: usize = 500_000;
/// Most documents of one page of a scan, and most keys that one conditional write looks at together: their rows are held in
/// memory on both sides.
pub const MAX_PAGE_ROWS: usize = 10_000;
/// Largest message between a backend and the engine: four times the largest document plus headers.
pub const MAX_FRAME_BYTES: usize = 64 << 20;
/// Largest encoded document: the limit the peers publish for one document.
pub const MAX_DOCUMENT_BYTES: usize = 8 << 20;
/// Longest value of a string attribute that is indexed for filters: longer ones make bad terms and bad keys.
pub const MAX_FILTERABLE_STRING_BYTES: usize = 8_192;
/// What an index keeps of a longer string has at least so many bytes: at the limit a character of up to four is left out whole.
/// So a shorter string is never the beginning of a longer one.
pub const MIN_CUT_STRING_BYTES: usize = MAX_FILTERABLE_STRING_BYTES - 3;
/// Longest text id of a document: a page of the most documents is then a few megabytes of ids, and every URL that people keep
/// fits (half of the 1,024 bytes that object stores allow for a name).
pub const MAX_TEXT_ID_BYTES: usize = 512;
/// Longest query text: tokenising more than this is a mistake of the caller, not a search.
pub const MAX_QUERY_TEXT_BYTES: usize = 64 << 10;
/// Most attributes of one namespace: an attribute id is a u16 and each is a column of every segment.
pub const MAX_ATTRIBUTES: usize = 1_000;
/// Longest name of a namespace or an attribute in bytes: PostgreSQL users expect about 63; file paths stay short.
pub const MAX_NAME_BYTES: usize = 128;
/// Deepest nesting of a filter: bounds recursion on input that comes from outside.
pub const MAX_FILTER_DEPTH: usize = 64;
/// Most values of one `in` list or of one array attribute.
pub const MAX_LIST_VALUES: usize = 65_536;
/// Most rows of one answer of a scan: bounds what one search looks for and one answer holds; the scan goes on after it.
pub const MAX_SCAN_ROWS: u32 = 65_536;
/// Most scans and scorers that one connection holds open: each holds bitmaps over the rows of its index. An ordered query of a
/// partitioned table has a scan for each partition, and years of daily ones are nothing unusual.
pub const MAX_OPEN_SCANS: usize = 2048;
/// RRF's constant when the caller gives none (Cormack, Clarke, Büttcher, SIGIR 2009).
pub const DEFAULT_RRF_K: u32 = 60;
/// Candidates each arm hands to fusion when the caller gives no number; at least ten times k.
pub const DEFAULT_CANDIDATES: usize = 100;
/// Default number of rows in the write buffer of a namespace that starts a flush.
pub const DEFAULT_FLUSH_ROWS: i32 = 10_000;
/// BM25's k1 when nobody says otherwise: what Lucene and tantivy use.
pub const DEFAULT_BM25_K1: f32 = 1.2;
/// Largest k1: from about 3 on repeated terms count almost in full, so more is a mistake.
pub const MAX_BM25_K1: f32 = 10.0;
/// Largest weight of a field in a text query: keeps every sum of scores finite in f32.
pub const MAX_FIELD_WEIGHT: f32 = 1e6;
/// BM25's b when nobody says otherwise: what Lucene and tantivy use.
pub const DEFAULT_BM25_B: f32 = 0.75;
/// Most arms of one query (vectors and texts together): each costs a search, and a fusion of more tells nothing new.
pub const MAX_ARMS: usize = 16;
/// Most score modifiers of one query.
pub const MAX_MODIFIERS: usize = 16;
/// Largest factor of a boost: ranks everything that matches first, and keeps every product of [`MAX_MODIFIERS`] finite.
pub const MAX_BOOST: f64 = 1e6;
/// Most rows of one segment that an arm looks at besides the wanted ones because their value equals that of the last: their keys
/// decide which of them belong to the best. Reading so many keys takes about as long as a search; where more are equal, as for a
/// word that is everywhere, those found first stand for all.
pub const MAX_TIED_ROWS: usize = 4_096;
/// Most rows before a page: each page searches all of those before it again. Beyond it use a filter on what was seen.
pub const MAX_OFFSET: usize = 100_000;
/// Most attributes of an order.
pub const MAX_ORDER_BY: usize = 8;
/// Most groups that an order by attributes with a limit per group keeps: about 100 bytes each, and as many rows as the limit.
pub const MAX_ORDERED_GROUPS: usize = 1_000_000;
/// Most queries of one evaluation: each is a few searches, and all are parsed before the first.
pub const MAX_EVALUATED_QUERIES: usize = 10_000;
/// Highest grade of a judgement: gains are powers of two.
pub const MAX_GRADE: u64 = 30;
/// Most facets of one call: each is a pass over the values of every matching row.
pub const MAX_FACETS: usize = 100;
/// Terms of a facet when the caller gives no number.
pub const DEFAULT_FACET_TERMS: usize = 10;
/// Most terms of one facet in an answer: keeps it readable by the clients that want a facet.
pub const MAX_FACET_TERMS: usize = 10_000;
/// Most buckets of one histogram, and most ranges of one facet: more is a wrong interval.
pub const MAX_FACET_BUCKETS: usize = 10_000;
/// Largest answer of one call, as JSON text: half of [`MAX_FRAME_BYTES`].
pub const MAX_FACET_ANSWER_BYTES: usize = 32 << 20;
/// Memory for the distinct values of all facets of one call: facets are exact, so each value is counted by itself.
pub const MAX_FACET_BYTES: usize = 256 << 20;
/// Longest token in bytes when nobody says otherwise: longer ones are no words (base64, hashes run together) and only bloat
/// the dictionary. Tamil letters take 3 bytes each and its words are long, so tantivy's usual 40 bytes would cut real words.
pub const DEFAULT_MAX_TOKEN_LENGTH: u32 = 128;
/// Largest "max_token_length" in bytes: as long as a string that filters can use, and far below tantivy's 65,530.
pub const MAX_TOKEN_LENGTH: u32 = 8_192;
/// Shortest n-gram when nobody says otherwise: one character alone finds nearly every text.
pub const DEFAULT_NGRAM_MIN: u8 = 2;
/// Longest n-gram when nobody says otherwise: three characters are rare enough to be worth a posting list.
pub const DEFAULT_NGRAM_MAX: u8 = 3;
/// Longest n-gram in characters: longer parts of a text are found by the positions of shorter n-grams.
pub const MAX_NGRAM_LENGTH: u8 = 16;
/// Most different lengths of n-grams: each adds one token for every character of every text.
pub const MAX_NGRAM_LENGTHS: u8 = 4;
/// Deepest nesting of parentheses in a text query; deeper ones are characters of words. Bounds recursion.
pub const MAX_TEXT_QUERY_DEPTH: usize = 32;
/// Largest slop of a phrase: beyond a page's distance the words alone say as much. A larger number is a word.
pub const MAX_PHRASE_SLOP: u32 = 1_000;
/// Most terms of a phrase with slop: each place of each term is tried as the beginning of a match.
pub const MAX_SLOPPY_PHRASE_TERMS: usize = 64;
/// Largest edit distance of a fuzzy term: with three edits every short word is every other. A larger number is a word.
pub const MAX_FUZZY_DISTANCE: u8 = 2;
/// Longest fuzzy term in characters, so that its automaton stays below some megabytes; a longer one is a word.
pub const MAX_FUZZY_CHARACTERS: usize = 64;
/// Most fuzzy terms of one text query, counted in each field: each walks the whole dictionary.
pub const MAX_FUZZY_TERMS: usize = 256;
/// Longest text whose tokens are shown or whose fragments are cut, in bytes: of a longer one nobody reads the answer.
pub const MAX_ANALYZED_TEXT_BYTES: usize = 1 << 20;
/// Largest answer about one text, in bytes: half of [`MAX_FRAME_BYTES`]. N-grams repeat every character several times.
pub const MAX_ANALYSIS_BYTES: usize = MAX_FRAME_BYTES / 2;
/// Most objects in one page of a listing: what S3 gives at once. With the longest keys they fill a tenth of a frame.
pub const MAX_LISTED_OBJECTS: u32 = 1_000;
