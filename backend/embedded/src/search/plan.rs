//! Revisions: which documents of a batch are added, and what is answered about each.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use chat_core::port::search::{Document, Indexed};
use chat_core::port::store::MessageKey;

use super::view::View;

/// What happens to each document of a batch.
pub(super) struct Plan {
    pub(super) fates: Vec<Fate>,
}

pub(super) enum Fate {
    /// Added, instead of a document of an earlier commit or of none.
    Add { replaces: bool },
    /// Would be added, had not a later document of the same batch a higher revision.
    Overtaken,
    /// The same revision or a higher one is there.
    Newer,
}

impl Plan {
    /// Decides as if the documents came one by one. Where `again` is set, what is there under the
    /// same revision is replaced too.
    pub(super) fn new(view: &View, documents: &[Document], again: bool) -> tantivy::Result<Self> {
        struct Known {
            revision: Option<u64>,
            replaces: bool,
            added: Option<usize>,
        }
        let mut known: HashMap<MessageKey, Known> = HashMap::with_capacity(documents.len());
        let mut fates: Vec<Fate> = Vec::with_capacity(documents.len());
        for document in documents {
            let known = match known.entry(document.key) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(unknown) => {
                    let revision = view.revision(document.key)?;
                    unknown.insert(Known {
                        revision,
                        replaces: revision.is_some(),
                        added: None,
                    })
                }
            };
            let is_newer = |there| match again {
                true => there > document.revision,
                false => there >= document.revision,
            };
            if known.revision.is_some_and(is_newer) {
                fates.push(Fate::Newer);
                continue;
            }
            if let Some(overtaken) = known.added.replace(fates.len()) {
                fates[overtaken] = Fate::Overtaken;
            }
            known.revision = Some(document.revision);
            fates.push(Fate::Add {
                replaces: known.replaces,
            });
        }
        Ok(Self { fates })
    }

    pub(super) fn changes(&self) -> bool {
        let adds = |fate: &Fate| matches!(fate, Fate::Add { .. });
        self.fates.iter().any(adds)
    }

    pub(super) fn verdicts(&self) -> Vec<Indexed> {
        let verdict = |fate: &Fate| match fate {
            Fate::Add { .. } | Fate::Overtaken => Indexed::Done,
            Fate::Newer => Indexed::Newer,
        };
        self.fates.iter().map(verdict).collect()
    }
}
