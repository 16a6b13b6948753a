//! The card of a file: which network it is for, and how to sample from it.

use crate::Error;
use crate::container::Checkpoint;
use crate::file::CARD;
use crate::model::{Card, card_of_state};
use serde_json::Value;

impl Checkpoint {
    /// The card: our own file's, or one made of what a foreign file says about itself. A file with `training_kwargs` is
    /// a student with these settings; any other is a teacher.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the network cannot be told, is of another kind, or has settings that are not built here.
    pub fn card(&self) -> Result<Card, Error> {
        if let Some(text) = self.metadata.get(CARD) {
            let path = self.path();
            let unwritable = |e| self.source.broken("training state", e);
            return match card_of_state(text).map(|card| serde_json::to_string(&card)) {
                Some(json) => Card::parse(&json.map_err(unwritable)?, path),
                None => Card::parse(text, path),
            };
        }
        let (kind, network) = self.foreign_network()?;
        // Names and shapes first: they say more about a wrong file than its settings do.
        self.check_keys(&network)?;
        self.check_filters(&network)?;
        kind.card(self, network)
    }

    /// The card and the file's SHA-256, which a foreign file's card repeats as where it came from.
    ///
    /// # Errors
    /// As [`card`](Self::card), and [`Error::File`].
    pub fn described(&self) -> Result<(Card, String), Error> {
        let mut card = self.card()?;
        let hash = self.hash()?;
        if let (false, Value::Object(recipe)) = (self.has_card(), &mut card.recipe) {
            recipe.insert("sha256".into(), hash.clone().into());
        }
        Ok((card, hash))
    }
}
