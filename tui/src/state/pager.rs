//! Pages of the server's lists: where this one begins, and how to go back.

/// The cursors of the pages up to the one that is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pager<C> {
    before: Vec<Option<C>>,
    /// Where the page that is shown begins; `None` is the first page.
    pub after: Option<C>,
}

impl<C> Default for Pager<C> {
    fn default() -> Self {
        Self {
            before: Vec::new(),
            after: None,
        }
    }
}

impl<C: Clone> Pager<C> {
    /// Goes to the next page; `false` on the last.
    pub fn forth(&mut self, next: Option<C>) -> bool {
        let Some(next) = next else { return false };
        self.before.push(self.after.replace(next));
        true
    }

    /// Goes to the page before; `false` on the first.
    pub fn back(&mut self) -> bool {
        match self.before.pop() {
            Some(after) => {
                self.after = after;
                true
            }
            None => false,
        }
    }

    /// From 1.
    #[must_use]
    pub fn number(&self) -> usize {
        self.before.len() + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        let mut pager = Pager::default();
        assert!(!pager.back());
        assert!(pager.forth(Some("b")));
        assert!(pager.forth(Some("c")));
        assert!(!pager.forth(None));
        assert_eq!((pager.number(), pager.after), (3, Some("c")));
        assert!(pager.back() && pager.back());
        assert_eq!((pager.number(), pager.after), (1, None));
    }
}
