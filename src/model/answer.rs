//! What a network makes: how its answers relate to clean images, and whether those are latents.

use crate::denoiser::{Preconditioning, Predicted};
use crate::error::positive;
use crate::grid::LogAlphaTable;
use serde::{Deserialize, Serialize};

/// What a network makes, as its card says it. A card names `prediction` and `latent` only where they do not follow from its
/// noise levels, as they do in all files written so far: those of a table make latents and predict the noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Answer {
    /// How the network's output relates to the clean images.
    pub preconditioning: Preconditioning,
    /// Of which latents the images are; `None` for pictures.
    pub latent: Option<Latent>,
}

/// Latents: what an autoencoder makes of pictures, and turns into pictures. They have the network's channels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Latent {
    /// What the autoencoder's numbers were multiplied with before the network saw them, positive; its own if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// What was taken from the autoencoder's numbers before they were scaled; nothing if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shift: Option<f64>,
}

/// The facts as they lie in a card.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sigma_data: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    noise_table: Option<LogAlphaTable>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    prediction: Option<Predicted>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    latent: Option<Said>,
}

/// `false` for pictures, else of which latents.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Said {
    Whether(bool),
    Of(Latent),
}

impl Answer {
    /// What a card without `latent` means: the one place where it is taken from the noise levels.
    fn implied(preconditioning: &Preconditioning) -> Option<Latent> {
        match preconditioning {
            Preconditioning::Discrete(_) | Preconditioning::Velocity(_) => Some(Latent::default()),
            Preconditioning::Edm(_) | Preconditioning::Flow => None,
        }
    }
}

impl<P: Into<Preconditioning>> From<P> for Answer {
    /// As cards without `latent` have it.
    fn from(preconditioning: P) -> Self {
        let preconditioning = preconditioning.into();
        Self {
            latent: Self::implied(&preconditioning),
            preconditioning,
        }
    }
}

impl TryFrom<Written> for Answer {
    type Error = String;

    fn try_from(card: Written) -> Result<Self, String> {
        let preconditioning: Preconditioning = match (card.sigma_data, card.noise_table) {
            (Some(sigma_data), None) => sigma_data.into(),
            (None, Some(table)) => match card.prediction {
                Some(Predicted::Velocity) => Preconditioning::Velocity(table),
                _ => Preconditioning::Discrete(table),
            },
            (None, None) if card.prediction == Some(Predicted::Flow) => Preconditioning::Flow,
            (None, None) => return Err("it has neither `sigma-data` nor `noise-table`".into()),
            (Some(_), Some(_)) => return Err("it has both `sigma-data` and `noise-table`".into()),
        };
        let known = preconditioning.predicted();
        if let Some(other) = card.prediction.filter(|said| *said != known) {
            return Err(format!(
                "`prediction` is {other}, and noise levels such as its own go with {known} here"
            ));
        }
        let latent = match card.latent {
            None => Self::implied(&preconditioning),
            Some(Said::Whether(is)) => is.then(Latent::default),
            Some(Said::Of(latent)) => Some(latent),
        };
        positive(
            "latent.scale",
            latent.and_then(|of| of.scale).unwrap_or(1.0),
        )
        .map_err(|e| e.to_string())?;
        Ok(Self {
            preconditioning,
            latent,
        })
    }
}

impl From<Answer> for Written {
    fn from(answer: Answer) -> Self {
        let follows = answer.latent == Answer::implied(&answer.preconditioning);
        let said = answer.latent.map_or(Said::Whether(false), Said::Of);
        let (sigma_data, noise_table, prediction) = match answer.preconditioning {
            Preconditioning::Edm(sigma_data) => (Some(sigma_data), None, None),
            Preconditioning::Discrete(table) => (None, Some(table), None),
            Preconditioning::Velocity(table) => (None, Some(table), Some(Predicted::Velocity)),
            Preconditioning::Flow => (None, None, Some(Predicted::Flow)),
        };
        Self {
            sigma_data,
            noise_table,
            // Said only where it does not follow from the noise levels.
            prediction,
            latent: (!follows).then_some(said),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> LogAlphaTable {
        LogAlphaTable::scaled_linear(0.0015, 0.0195, 1000).unwrap()
    }

    fn read(card: &str) -> Result<Answer, String> {
        serde_json::from_str(card).map_err(|e| e.to_string())
    }

    fn written(answer: &Answer) -> String {
        serde_json::to_string(answer).unwrap()
    }

    #[test]
    fn cards_of_old_say_what_they_said_and_keep_their_text() {
        let table = serde_json::to_string(&table()).unwrap();
        for (text, latent) in [
            ("{\"sigma-data\":0.5}".to_string(), None),
            (
                format!("{{\"noise-table\":{table}}}"),
                Some(Latent::default()),
            ),
        ] {
            let answer = read(&text).unwrap();
            assert_eq!(answer.latent, latent);
            assert_eq!(written(&answer), text);
        }
    }

    #[test]
    fn what_does_not_follow_from_the_levels_is_written_and_read() {
        let scaled = Some(Latent {
            scale: Some(0.13),
            shift: None,
        });
        for (preconditioning, latent) in [
            (Preconditioning::Edm(0.5), Some(Latent::default())),
            (Preconditioning::Edm(0.5), scaled),
            (Preconditioning::Discrete(table()), None),
            (Preconditioning::Discrete(table()), scaled),
            (Preconditioning::Velocity(table()), scaled),
            (Preconditioning::Flow, scaled),
        ] {
            let answer = Answer {
                preconditioning,
                latent,
            };
            assert!(written(&answer).contains("\"latent\":"));
            assert_eq!(read(&written(&answer)).unwrap(), answer);
        }
        let same = read("{\"sigma-data\":0.5,\"prediction\":\"edm\",\"latent\":true}").unwrap();
        assert_eq!(same.latent, Some(Latent::default()));
    }

    #[test]
    fn velocities_are_said() {
        let answer = Answer::from(Preconditioning::Velocity(table()));
        let text = written(&answer);
        assert!(text.ends_with(",\"prediction\":\"v\"}"), "{text}");
        assert_eq!(read(&text).unwrap(), answer);
        assert_eq!(answer.latent, Some(Latent::default()));
        let answer = Answer::from(Preconditioning::Flow);
        assert_eq!(written(&answer), "{\"prediction\":\"flow\"}");
        assert_eq!(read(&written(&answer)).unwrap(), answer);
        assert_eq!(answer.latent, None);
    }

    #[test]
    fn cards_that_contradict_themselves_are_refused() {
        for (text, word) in [
            ("{}", "neither"),
            ("{\"sigma-data\":0.5,\"prediction\":\"epsilon\"}", "epsilon"),
            ("{\"sigma-data\":0.5,\"prediction\":\"flow\"}", "flow"),
            ("{\"sigma-data\":0.5,\"latent\":{\"scale\":0.0}}", "scale"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(word), "{error}");
        }
    }
}
