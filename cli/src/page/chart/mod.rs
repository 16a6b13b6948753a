//! Small charts for a page, as SVG that takes its colours from the page's style where there is one; in a build without the feature
//! `plots` the same in words.

#![cfg_attr(
    not(feature = "plots"),
    allow(dead_code, reason = "what only drawings need")
)]

#[cfg(feature = "plots")]
mod axis;
mod label;

#[cfg(feature = "plots")]
use anyhow::anyhow;
#[cfg(feature = "plots")]
use axis::Axis;
use label::label;
#[cfg(feature = "plots")]
use plotters::prelude::*;

/// Sizes of the drawing's coordinates; the page scales it. Large, because they are whole numbers.
const SIZE: (u32, u32) = (720, 430);
const FONT: (&str, u32) = ("sans-serif", 23);
/// Points of a line at most; more are not seen.
const POINTS: usize = 400;
/// A line of fewer has its points marked.
const MARKED: usize = 24;
/// How much the largest number must be of the smallest for a scale of logarithms.
const DECADES: f64 = 30.0;

/// Colours that people who see few can tell apart (Okabe and Ito). The page's style knows them by these numbers, and has others
/// for the dark.
pub const COLOURS: [(u8, u8, u8); 6] = [
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (154, 110, 0),
    (86, 86, 200),
];
#[cfg(feature = "plots")]
const INK: RGBColor = RGBColor(1, 1, 1);
#[cfg(feature = "plots")]
const RULE: RGBColor = RGBColor(221, 222, 224);

/// What belongs together.
#[derive(Clone, Debug, Default)]
pub struct Line {
    pub name: String,
    /// Place, height, and half of the error bar.
    pub points: Vec<[f64; 3]>,
    /// Whether the points are joined.
    pub joined: bool,
}

impl Line {
    /// Joined points without error bars.
    pub fn curve(name: impl Into<String>, points: impl Iterator<Item = [f64; 2]>) -> Self {
        Self {
            name: name.into(),
            points: points.map(|[x, y]| [x, y, 0.0]).collect(),
            joined: true,
        }
    }
}

/// A chart: what stands to the right and upwards, and what is drawn.
pub struct Chart<'a> {
    pub title: &'a str,
    pub x: &'a str,
    pub log_x: bool,
    pub lines: Vec<Line>,
}

#[cfg(feature = "plots")]
type Failed = Box<dyn std::error::Error>;

impl Chart<'_> {
    /// Whether there is anything to see: a single point is no curve.
    pub fn is_empty(&self) -> bool {
        let most = self.lines.iter().map(|line| line.points.len()).max();
        let joined = self.lines.iter().any(|line| line.joined);
        most.unwrap_or(0) < if joined { 2 } else { 1 }
    }

    /// What it shows, for a page.
    #[cfg(not(feature = "plots"))]
    #[allow(clippy::unnecessary_wraps, reason = "as where it is drawn")]
    pub fn svg(&self) -> anyhow::Result<String> {
        Ok(format!("<p>{}</p>", escaped(&self.describe())))
    }

    /// The drawing, for a page.
    #[cfg(feature = "plots")]
    pub fn svg(&self) -> anyhow::Result<String> {
        let mut text = String::new();
        self.draw(&mut text)
            .map_err(|e| anyhow!("cannot draw {}: {e}", self.title))?;
        // Inside a page it needs no name space, and no size but the page's.
        let inside = text.find("<svg").map_or("", |start| &text[start..]);
        let end = inside.find('>').unwrap_or(0);
        let (width, height) = SIZE;
        Ok(format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\"{}",
            escaped(&self.describe()),
            &inside[end..]
        ))
    }

    /// In words, for who does not see it.
    fn describe(&self) -> String {
        let lines = self.lines.iter().filter_map(|line| {
            let (first, last) = (line.points.first()?, line.points.last()?);
            let name = match line.name.is_empty() {
                true => String::new(),
                false => format!("{}: ", line.name),
            };
            Some(format!(
                "{name}from {} at {} to {} at {}",
                label(first[1]),
                label(first[0]),
                label(last[1]),
                label(last[0])
            ))
        });
        let lines: Vec<_> = lines.take(COLOURS.len()).collect();
        format!("{}, by {}; {}", self.title, self.x, lines.join("; "))
    }

    #[cfg(feature = "plots")]
    fn draw(&self, text: &mut String) -> Result<(), Failed> {
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let x = Axis::new(points().map(|p| p[0]), self.log_x);
        let heights = || points().flat_map(|p| [p[1] - p[2], p[1] + p[2]]);
        let least = heights().fold(f64::INFINITY, f64::min);
        let most = heights().fold(0.0, f64::max);
        let y = Axis::new(heights(), least > 0.0 && most > DECADES * least);
        let root = SVGBackend::with_string(text, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin(14)
            .margin_right(30)
            .x_label_area_size(66)
            .y_label_area_size(92)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .x_labels(5)
            .y_labels(5)
            .bold_line_style(RULE.stroke_width(1))
            .light_line_style(TRANSPARENT)
            .axis_style(RULE.stroke_width(1))
            .label_style(FONT.into_font().color(&INK))
            .draw()?;
        for (at, line) in self.lines.iter().enumerate() {
            let (red, green, blue) = COLOURS[at % COLOURS.len()];
            let colour = RGBColor(red, green, blue);
            let shown: Vec<[f64; 3]> = thinned(&line.points);
            if line.joined {
                let line = shown.iter().map(|p| (p[0], p[1]));
                chart.draw_series(LineSeries::new(line, colour.stroke_width(3)))?;
            }
            let bars = shown.iter().filter(|p| p[2] > 0.0).map(|p| {
                let (low, high) = (p[1] - p[2], p[1] + p[2]);
                ErrorBar::new_vertical(p[0], low, p[1], high, colour.stroke_width(2), 14)
            });
            chart.draw_series(bars)?;
            if !line.joined || shown.len() < MARKED {
                let dots = shown
                    .iter()
                    .map(|p| Circle::new((p[0], p[1]), 6, colour.filled()));
                chart.draw_series(dots)?;
            }
        }
        root.present()?;
        drop(chart);
        Ok(())
    }
}

/// As many points as can be seen, the last among them.
fn thinned(points: &[[f64; 3]]) -> Vec<[f64; 3]> {
    let every = points.len().div_ceil(POINTS).max(1);
    let last = points.len() % every;
    let chosen = points.iter().enumerate();
    let chosen = chosen.filter(|(at, _)| (at + 1) % every == last % every || *at == 0);
    chosen.map(|(_, point)| *point).collect()
}

/// A text inside quotes.
fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_stands_by_itself_and_says_what_it_shows() {
        let line = Line {
            name: "a \"run\"".into(),
            points: vec![[1.0, 90.0, 0.0], [10.0, 1.0, 0.5]],
            joined: true,
        };
        let chart = Chart {
            title: "loss",
            x: "images",
            log_x: false,
            lines: vec![line],
        };
        assert!(!chart.is_empty());
        let svg = chart.svg().unwrap();
        let words = "a &quot;run&quot;: from 90 at 1 to 1 at 10";
        assert!(svg.contains(words), "{svg}");
        if cfg!(not(feature = "plots")) {
            return;
        }
        assert!(svg.starts_with("<svg viewBox=\"0 0 720 430\" role=\"img\""));
        assert!(
            svg.trim_end().ends_with("</svg>") && !svg.contains("http"),
            "{svg}"
        );
        assert!(
            svg.contains("stroke=\"#0072B2\"") && svg.contains("fill=\"#0072B2\""),
            "{svg}"
        );
    }

    #[test]
    fn many_points_are_thinned_to_those_that_are_seen() {
        let points: Vec<[f64; 3]> = (0..5003).map(|i| [f64::from(i), 1.0, 0.0]).collect();
        let shown = thinned(&points);
        assert!(
            shown.len() <= POINTS + 2 && shown.len() > POINTS / 2,
            "{}",
            shown.len()
        );
        assert_eq!((shown[0][0], shown[shown.len() - 1][0]), (0.0, 5002.0));
        assert_eq!(thinned(&points[..7]).len(), 7);
    }
}
