//! The index as it was at one commit: what searches read.

use std::sync::Arc;

use chat_core::port::search::Listed;
use chat_core::port::store::{ChatKey, MessageKey};
use tantivy::columnar::{Column, ColumnValues};
use tantivy::postings::{SegmentPostings, TermInfo};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, InvertedIndexReader, Searcher, SegmentReader, TERMINATED};

use super::schema::{self, CREATED_AT, GRAMS, PATH, POSITION, REVISION};

/// Everything opened once a commit, so that a search opens nothing.
pub(super) struct View {
    pub(super) segments: Vec<Segment>,
}

/// A part of the index that never changes, but for the documents that were replaced since.
pub(super) struct Segment {
    pub(super) reader: SegmentReader,
    pub(super) paths: Arc<InvertedIndexReader>,
    pub(super) grams: Arc<InvertedIndexReader>,
    pub(super) created_at: Arc<dyn ColumnValues<i64>>,
    pub(super) position: Arc<dyn ColumnValues<u64>>,
    revision: Arc<dyn ColumnValues<u64>>,
}

impl View {
    pub(super) fn open(searcher: &Searcher) -> tantivy::Result<Self> {
        let readers = searcher.segment_readers().iter();
        let segments = readers.map(Segment::open).collect::<tantivy::Result<_>>()?;
        Ok(Self { segments })
    }

    /// The revision under which a message is there, also as a tombstone.
    pub(super) fn revision(&self, key: MessageKey) -> tantivy::Result<Option<u64>> {
        let path = schema::message_path(key);
        for segment in &self.segments {
            let Some(info) = segment.paths.terms().get(path)? else {
                continue;
            };
            let mut documents = postings(&segment.paths, &info)?;
            while documents.doc() != TERMINATED {
                if segment.is_alive(documents.doc()) {
                    return Ok(Some(segment.revision.get_val(documents.doc())));
                }
                documents.advance();
            }
        }
        Ok(None)
    }

    /// Messages below a path, without tombstones.
    pub(super) fn count(&self, scope: &[u8]) -> tantivy::Result<u64> {
        let mut count = 0;
        for segment in &self.segments {
            if let Some(info) = segment.paths.terms().get(scope)? {
                let found = postings(&segment.paths, &info)?;
                count += match segment.reader.alive_bitset() {
                    None => u64::from(info.doc_freq),
                    Some(alive) => u64::from(found.doc_freq_given_deletes(alive)),
                };
            }
        }
        Ok(count)
    }

    /// Number and revision of the messages of a chat above a number, without tombstones, in no order.
    pub(super) fn list(&self, chat: ChatKey, after: u32) -> tantivy::Result<Vec<Listed>> {
        let scope = schema::scope_path(chat.token, Some(chat.chat));
        let mut found = Vec::new();
        for segment in &self.segments {
            let Some(info) = segment.paths.terms().get(&scope)? else {
                continue;
            };
            let mut documents = postings(&segment.paths, &info)?;
            while documents.doc() != TERMINATED {
                let document = documents.doc();
                documents.advance();
                if !segment.is_alive(document) {
                    continue;
                }
                let position = schema::from_position(segment.position.get_val(document));
                found.extend(position.filter(|(_, number)| number.get() > after).map(
                    |(_, number)| Listed {
                        number,
                        revision: segment.revision.get_val(document),
                    },
                ));
            }
        }
        Ok(found)
    }

    /// Documents with tombstones.
    pub(super) fn len(&self) -> u64 {
        let documents = |segment: &Segment| u64::from(segment.reader.num_docs());
        self.segments.iter().map(documents).sum()
    }
}

impl Segment {
    fn open(reader: &SegmentReader) -> tantivy::Result<Self> {
        let columns = reader.fast_fields();
        Ok(Self {
            paths: reader.inverted_index(PATH)?,
            grams: reader.inverted_index(GRAMS)?,
            created_at: dense(columns.i64(CREATED_AT)?),
            position: dense(columns.u64(POSITION)?),
            revision: dense(columns.u64(REVISION)?),
            reader: reader.clone(),
        })
    }

    /// Whether a document is still the one that counts.
    pub(super) fn is_alive(&self, document: u32) -> bool {
        self.reader
            .alive_bitset()
            .is_none_or(|alive| alive.is_alive(document))
    }
}

/// Every document has a value in each column, so values can be read without asking which has.
fn dense<T>(column: Column<T>) -> Arc<dyn ColumnValues<T>> {
    column.values
}

pub(super) fn postings(
    field: &InvertedIndexReader,
    info: &TermInfo,
) -> tantivy::Result<SegmentPostings> {
    Ok(field.read_postings_from_terminfo(info, IndexRecordOption::Basic)?)
}
