//! Plots as SVG: lines over time or over quantiles, small enough to stand in a page.
//!
//! Written here rather than by a plotting crate, because what such a crate draws has its colours in
//! it: a page that follows the reader's light or dark scheme, and paper, needs classes. It also
//! keeps gaps, which is how unknown differs from zero.

mod axis;

use self::axis::{Axis, place};

/// Most points of a line; more would only make the page larger, for the eye cannot tell.
const POINTS_MAX: usize = 1_200;
/// The picture, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
/// What is kept free for labels.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;

/// How values become places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero up.
    Linear,
    /// By tens; what is not above zero is left out.
    Log,
    /// Quantiles by their nines, as HdrHistogram plots them; 1 is infinitely far, and left out.
    Nines,
}

/// One line; where `y` is absent it has a gap.
#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

/// A picture with its words.
#[derive(Debug, Clone)]
pub(super) struct Plot<'a> {
    /// Unique in the page.
    pub(super) id: &'a str,
    pub(super) title: &'a str,
    /// What can be seen, for who cannot see it.
    pub(super) about: &'a str,
    pub(super) x: (&'a str, Scale),
    pub(super) y: (&'a str, Scale),
    pub(super) lines: Vec<Line>,
}

/// The pieces of a line, of points between 0 and whatever the scales end at.
type Runs = Vec<Vec<(f64, f64)>>;

/// Draws it. Lines are told apart by colour and by dashes; names are escaped with `escape`.
pub(super) fn svg(plot: &Plot<'_>, escape: impl Fn(&str) -> String) -> String {
    let lines: Vec<(&str, Runs)> = plot
        .lines
        .iter()
        .map(|line| (line.name.as_str(), runs(line, plot.x.1, plot.y.1)))
        .collect();
    let (id, title, about) = (plot.id, escape(plot.title), escape(plot.about));
    let keys: String = lines
        .iter()
        .enumerate()
        .map(|(at, (name, _))| {
            format!(
                "<span><svg class=\"key\" viewBox=\"0 0 34 8\" aria-hidden=\"true\"><path class=\"{}\" d=\"M1 4H33\"/></svg>{}</span>\n",
                style(at),
                escape(name)
            )
        })
        .collect();
    let mut text = format!(
        "<figure>\n<figcaption><b>{title}</b>\n{keys}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\n\
         <title id=\"{id}-t\">{title}</title>\n<desc id=\"{id}-d\">{about}</desc>\n"
    );
    let points = || lines.iter().flat_map(|(_, runs)| runs.iter().flatten());
    if points().next().is_none() {
        let (x, y) = (WIDTH / 2.0, HEIGHT / 2.0);
        text.push_str(&format!(
            "<text class=\"none\" x=\"{x}\" y=\"{y}\" text-anchor=\"middle\">nothing to show</text>\n</svg>\n"
        ));
    } else {
        let across = Axis::of(plot.x.1, points().map(|(x, _)| *x));
        let up = Axis::of(plot.y.1, points().map(|(_, y)| *y));
        text.push_str(&axes(&across, &up, &escape(plot.x.0), &escape(plot.y.0)));
        for (at, (_, runs)) in lines.iter().enumerate() {
            text.push_str(&path(at, runs, &across, &up));
        }
        text.push_str("</svg>\n");
    }
    text.push_str("</figure>\n");
    text
}

/// Six colours with dashes of their own, each in three widths; a nineteenth line looks like the first.
fn style(at: usize) -> String {
    match at / 6 % 3 {
        0 => format!("l{}", at % 6),
        width => format!("l{} n{width}", at % 6),
    }
}

/// The pieces of a line between its gaps, without what the scales have no place for.
fn runs(line: &Line, across: Scale, up: Scale) -> Runs {
    let mut runs = Vec::new();
    let mut run: Vec<(f64, f64)> = Vec::new();
    for &(x, y) in &line.points {
        let place = place(across, x).zip(y.and_then(|y| place(up, y)));
        match place {
            Some(point) => run.push(point),
            None if run.is_empty() => {}
            None => runs.push(std::mem::take(&mut run)),
        }
    }
    if !run.is_empty() {
        runs.push(run);
    }
    let all: usize = runs.iter().map(Vec::len).sum();
    if all > POINTS_MAX {
        let each = all.div_ceil(POINTS_MAX / 2);
        runs = runs.iter().map(|run| thinned(run, each)).collect();
    }
    runs
}

/// Of every few points the lowest and the highest, so that no peak is lost.
fn thinned(run: &[(f64, f64)], each: usize) -> Vec<(f64, f64)> {
    let mut kept = Vec::new();
    for some in run.chunks(each) {
        let by = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
        let lowest = some.iter().min_by(by);
        let highest = some.iter().max_by(by);
        if let (Some(&lowest), Some(&highest)) = (lowest, highest) {
            let in_order = lowest.0 <= highest.0;
            kept.extend(if in_order {
                [lowest, highest]
            } else {
                [highest, lowest]
            });
        }
    }
    kept.dedup();
    kept
}

fn x_of(axis: &Axis, place: f64) -> f64 {
    LEFT + axis.part(place) * (WIDTH - LEFT - RIGHT)
}

fn y_of(axis: &Axis, place: f64) -> f64 {
    HEIGHT - BOTTOM - axis.part(place) * (HEIGHT - TOP - BOTTOM)
}

fn axes(across: &Axis, up: &Axis, x_name: &str, y_name: &str) -> String {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    let mut text = String::new();
    for (place, label) in &up.ticks {
        let y = y_of(up, *place);
        text.push_str(&format!(
            "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{right}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>\n",
            LEFT - 6.0,
            y + 4.0
        ));
    }
    for (place, label) in &across.ticks {
        let x = x_of(across, *place);
        // The label of the last tick has no room to its right.
        let anchor = if x > right - RIGHT { "end" } else { "middle" };
        text.push_str(&format!(
            "<path class=\"grid\" d=\"M{x:.1} {TOP}V{bottom}\"/><text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{label}</text>\n",
            bottom + 16.0
        ));
    }
    let middle = f64::midpoint(TOP, bottom);
    text.push_str(&format!(
        "<path class=\"axis\" d=\"M{LEFT} {TOP}V{bottom}H{right}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{x_name}</text>\n\
         <text transform=\"rotate(-90)\" x=\"-{middle:.1}\" y=\"12\" text-anchor=\"middle\">{y_name}</text>\n",
        f64::midpoint(LEFT, right),
        HEIGHT - 6.0
    ));
    text
}

/// One line. A point that stands alone gets a dot, for a line of no length cannot be seen.
fn path(at: usize, runs: &[Vec<(f64, f64)>], across: &Axis, up: &Axis) -> String {
    let mut text = String::new();
    let mut drawn = String::new();
    for run in runs {
        if let [(x, y)] = run.as_slice() {
            let (x, y) = (x_of(across, *x), y_of(up, *y));
            text.push_str(&format!(
                "<circle class=\"d{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>\n",
                at % 6
            ));
            continue;
        }
        for (step, (x, y)) in run.iter().enumerate() {
            let letter = if step == 0 { 'M' } else { 'L' };
            let (x, y) = (x_of(across, *x), y_of(up, *y));
            drawn.push_str(&format!("{letter}{x:.1} {y:.1}"));
        }
    }
    if !drawn.is_empty() {
        text.push_str(&format!("<path class=\"{}\" d=\"{drawn}\"/>\n", style(at)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draw(scales: (Scale, Scale), points: Vec<(f64, Option<f64>)>) -> String {
        let plot = Plot {
            id: "p",
            title: "a plot",
            about: "of something",
            x: ("x", scales.0),
            y: ("y", scales.1),
            lines: vec![Line {
                name: "line".to_owned(),
                points,
            }],
        };
        svg(&plot, str::to_owned)
    }

    #[test]
    fn eighteen_lines_look_different() {
        let styles: std::collections::BTreeSet<String> = (0..18).map(style).collect();
        assert_eq!(styles.len(), 18);
        assert_eq!([style(0), style(7), style(18)], ["l0", "l1 n1", "l0"]);
    }

    #[test]
    fn nothing_and_one_point_draw() {
        let scales = [Scale::Linear, Scale::Log, Scale::Nines];
        for x in scales {
            for y in [Scale::Linear, Scale::Log] {
                assert!(draw((x, y), vec![]).contains("nothing to show"));
                assert!(draw((x, y), vec![(0.5, None)]).contains("nothing to show"));
                assert!(draw((x, y), vec![(0.5, Some(0.5))]).contains("<circle"));
            }
        }
    }

    #[test]
    fn no_value_makes_a_picture_that_is_not_one() {
        let odd = [
            0.0,
            -1.0,
            1.0,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            1e300,
        ];
        let points: Vec<_> = odd
            .iter()
            .flat_map(|x| odd.iter().map(move |y| (*x, Some(*y))))
            .collect();
        for x in [Scale::Linear, Scale::Log, Scale::Nines] {
            for y in [Scale::Linear, Scale::Log] {
                let text = draw((x, y), points.clone());
                for wrong in ["NaN", "inf", "e300"] {
                    assert!(!text.contains(wrong), "{x:?} {y:?} {wrong}: {text}");
                }
            }
        }
    }

    #[test]
    fn gaps_stay_gaps_and_peaks_stay_peaks() {
        let points = (0..10).map(|x| (f64::from(x), (x != 5).then_some(1.0)));
        let text = draw((Scale::Linear, Scale::Linear), points.collect());
        let line = text.rsplit("class=\"l0\" d=\"").next().unwrap();
        assert_eq!(line.split('"').next().unwrap().matches('M').count(), 2);
        let long = Line {
            name: String::new(),
            points: (0..100_000)
                .map(|x| (f64::from(x), Some(if x == 77_777 { 9.0 } else { 1.0 })))
                .collect(),
        };
        let runs = runs(&long, Scale::Linear, Scale::Linear);
        assert!(runs[0].len() <= POINTS_MAX + 2);
        assert!(runs[0].contains(&(77_777.0, 9.0)));
    }
}
