//! How sure a classifier is of each image, and how many classes there are among all.

/// Gathers class scores for the inception score, in parts of the images. [Salimans et al. 2016, Sec. 4]
#[derive(Clone, Debug)]
pub struct InceptionScore {
    classes: usize,
    parts: Vec<Tenth>,
}

/// The images of a part.
#[derive(Clone, Debug)]
struct Tenth {
    images: u64,
    /// Sum over images of the sum over classes of p log p.
    certainty: f64,
    /// Sum over images of p.
    sum: Vec<f64>,
}

impl InceptionScore {
    /// For scores of so many classes, in so many parts; 10 is usual.
    ///
    /// # Panics
    /// If there are no classes or parts.
    pub fn new(classes: usize, parts: usize) -> Self {
        assert!(classes * parts > 0, "classes and parts");
        let part = Tenth {
            images: 0,
            certainty: 0.0,
            sum: vec![0.0; classes],
        };
        Self {
            classes,
            parts: vec![part; parts],
        }
    }

    /// Adds an image to a part, by its class scores (logits).
    ///
    /// # Panics
    /// If the part is not there, or there are not as many scores as classes.
    pub fn push(&mut self, part: usize, scores: &[f32]) {
        assert_eq!(scores.len(), self.classes, "a score for each class");
        let part = &mut self.parts[part];
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let shifted = || scores.iter().map(|s| f64::from(*s) - f64::from(largest));
        let total: f64 = shifted().map(f64::exp).sum();
        let log_total = total.ln();
        for (sum, shifted) in part.sum.iter_mut().zip(shifted()) {
            let share = shifted.exp() / total;
            *sum += share;
            part.certainty += share * (shifted - log_total);
        }
        part.images += 1;
    }

    /// exp of the mean divergence of an image's classes from those of its part: the mean over the parts that have images, and
    /// their standard deviation. NaN without any image.
    pub fn finish(&self) -> (f64, f64) {
        let parts = self.parts.iter().filter(|part| part.images > 0);
        let scores: Vec<f64> = parts.map(Tenth::score).collect();
        let count = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / count;
        let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
        (mean, (squares / count).sqrt())
    }
}

impl Tenth {
    fn score(&self) -> f64 {
        let images = self.images as f64;
        let spread = self.sum.iter().map(|sum| {
            let share = sum / images;
            if share > 0.0 { share * share.ln() } else { 0.0 }
        });
        (self.certainty / images - spread.sum::<f64>()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_and_various_images_score_as_many_as_there_are_classes() {
        let mut score = InceptionScore::new(4, 2);
        for image in 0..8 {
            let mut scores = [0.0f32; 4];
            scores[image % 4] = 100.0;
            score.push(image / 4, &scores);
        }
        let (mean, deviation) = score.finish();
        assert!((mean - 4.0).abs() < 1e-12 && deviation < 1e-12, "{mean}");
        // All of one class, or of no class at all, say nothing.
        for scores in [[100.0f32, 0.0, 0.0, 0.0], [7.0; 4]] {
            let mut score = InceptionScore::new(4, 1);
            (0..5).for_each(|_| score.push(0, &scores));
            assert!((score.finish().0 - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn it_is_the_definition() {
        // p = (3/4, 1/4) and (1/4, 3/4): the mean is (1/2, 1/2), both divergences log 2 - h with h the entropy of p.
        let mut score = InceptionScore::new(2, 1);
        score.push(0, &[3f32.ln(), 0.0]);
        score.push(0, &[0.0, 3f32.ln()]);
        let entropy = -(0.75 * 0.75f64.ln() + 0.25 * 0.25f64.ln());
        let expected = (2f64.ln() - entropy).exp();
        assert!((score.finish().0 - expected).abs() < 1e-6);
    }
}
