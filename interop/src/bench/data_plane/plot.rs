// SPDX-License-Identifier: GPL-2.0-or-later
//! The ratios to plain routing as a picture (SVG) that needs nothing but a browser.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::design::{Design, Test, Underlay};
use super::promises::FLOORS;
use super::report::Report;
use crate::demo::UsageError;

/// Sizes, in pixels of the picture.
const MARGIN: f64 = 48.0;
const BAR: f64 = 46.0;
const GROUP_GAP: f64 = 36.0;
const PANEL: f64 = 240.0;
const TITLE: f64 = 44.0;
const LEGEND: f64 = 64.0;
const FOOT: f64 = 32.0;
const LINE: f64 = 12.0;
const SMALL: f64 = 11.0;
/// Width of a letter in its size, in a wide font.
const LETTER: f64 = 0.58;
/// Designs that are drawn; plain routing is the line at 1.
const DRAWN: [(Design, &str); 4] =
    [(Design::Vxlan, "#7f8c9b"), (Design::Tier0, "#e3a34f"), (Design::Tier1, "#2f7ebc"), (Design::Oor, "#b65a6a")];

/// Refuses a place for a picture at which something else stands.
///
/// # Errors
/// What is in the way.
pub fn check(path: &Path) -> Result<(), UsageError> {
    let wrong = |what: String| UsageError(format!("--plot {}: {what}", path.display()));
    match std::fs::read(path) {
        Ok(found) if found.is_empty() || found.starts_with(HEAD.as_bytes()) => {}
        Ok(_) => return Err(wrong("is there, and no picture of this program".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(wrong(error.to_string())),
    }
    draft(path).map(drop).map_err(|error| wrong(error.to_string()))
}

/// A new file beside it, under a name that nobody can have foreseen.
fn draft(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As every file that is made: what the umask leaves of it.
    tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(folder)
}

/// Draws the report into a file, whole or not at all.
///
/// # Errors
/// What is in the way.
pub fn write(path: &Path, report: &Report) -> Result<(), UsageError> {
    check(path)?;
    let drawn = draft(path).and_then(|mut draft| {
        draft.write_all(draw(report).finish().as_bytes())?;
        draft.persist(path).map_err(|error| error.error)
    });
    drawn.map(drop).map_err(|error| UsageError(format!("--plot {}: {error}", path.display())))
}

/// How every picture begins.
const HEAD: &str = "<svg xmlns=\"http://www.w3.org/2000/svg\"";

/// Where a text is held at its place.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// A text; `y` is its base line.
#[derive(Debug)]
struct Text {
    x: f64,
    y: f64,
    size: f64,
    anchor: Anchor,
    words: String,
}

/// What is drawn so far.
#[derive(Debug, Default)]
struct Picture {
    shapes: String,
    texts: Vec<Text>,
    width: f64,
    height: f64,
}

impl Picture {
    fn rectangle(&mut self, [x, y, width, height]: [f64; 4], fill: &str, words: &str) {
        let words = escaped(words);
        let _ = writeln!(
            self.shapes,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"><title>{words}</title></rect>"
        );
    }

    fn line(&mut self, [x1, y1, x2, y2]: [f64; 4], stroke: &str, more: &str) {
        let _ = writeln!(
            self.shapes,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{stroke}\" {more}/>"
        );
    }

    fn text(&mut self, x: f64, y: f64, size: f64, anchor: Anchor, words: impl Into<String>) {
        self.texts.push(Text { x, y, size, anchor, words: words.into() });
    }

    fn finish(&self) -> String {
        let Self { width, height, shapes, .. } = self;
        let mut svg = format!(
            "{HEAD} viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" \
             font-family=\"sans-serif\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{shapes}"
        );
        for Text { x, y, size, anchor, words } in &self.texts {
            let anchor = match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            };
            // A white seam keeps it readable where a line crosses.
            let _ = writeln!(
                svg,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" font-size=\"{size:.0}\" text-anchor=\"{anchor}\" fill=\"#222\" stroke=\"white\" \
                 stroke-width=\"3\" paint-order=\"stroke\">{}</text>",
                escaped(words)
            );
        }
        svg + "</svg>\n"
    }
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn draw(report: &Report) -> Picture {
    let measured = |design: Design| report.results.iter().any(|it| it.design == design && it.ratio_to_plain.is_some());
    let designs: Vec<_> = DRAWN.into_iter().filter(|(design, _)| measured(*design)).collect();
    let tests: Vec<Test> =
        Test::RATES.into_iter().filter(|test| report.results.iter().any(|it| it.test == *test)).collect();
    let underlays: Vec<Underlay> =
        Underlay::ALL.into_iter().filter(|underlay| report.results.iter().any(|it| it.underlay == *underlay)).collect();
    #[allow(clippy::cast_precision_loss, reason = "a handful")]
    let (columns, groups, panels) = (designs.len().max(1) as f64, tests.len().max(1) as f64, underlays.len() as f64);
    let group = columns * BAR + GROUP_GAP;
    // The legend and the last line need their room, however few bars there are.
    let width = (MARGIN * 2.0 + groups * group).max(MARGIN * 2.0 + 640.0);
    let height = LEGEND + panels * (TITLE + PANEL + FOOT) + 2.0 * FOOT;
    let mut picture = Picture { width, height, ..Picture::default() };
    legend(&mut picture, &designs);
    let most = scale(report);
    for (underlay, number) in underlays.iter().zip(0_u8..) {
        let top = LEGEND + f64::from(number) * (TITLE + PANEL + FOOT);
        let heading = format!("{underlay}: throughput, plain routing = 1");
        picture.text(MARGIN, top + 20.0, 15.0, Anchor::Start, heading);
        let frame = Frame { top: top + TITLE, width: groups * group, most };
        axis(&mut picture, &frame);
        for (test, number) in tests.iter().zip(0_u8..) {
            let left = MARGIN + f64::from(number) * group + GROUP_GAP / 2.0;
            let middle = left + columns * BAR / 2.0;
            let words = format!("{test} ({})", test.unit());
            picture.text(middle, frame.y(0.0) + 18.0, LINE, Anchor::Middle, words);
            for ((design, colour), number) in designs.iter().zip(0_u8..) {
                let left = left + f64::from(number) * BAR;
                bar(&mut picture, report, &frame, (*underlay, *design, *test), (left, colour));
            }
        }
    }
    picture.text(MARGIN, height - 30.0, SMALL, Anchor::Start, report.conditions());
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "letters of a line")]
    let room = ((width - 2.0 * MARGIN) / (SMALL * LETTER)) as usize;
    picture.text(MARGIN, height - 14.0, SMALL, Anchor::Start, report.machine.chars().take(room).collect::<String>());
    picture
}

/// Where a panel is, and what its height stands for.
struct Frame {
    top: f64,
    width: f64,
    most: f64,
}

impl Frame {
    fn y(&self, ratio: f64) -> f64 {
        self.top + PANEL * (1.0 - ratio.min(self.most) / self.most)
    }
}

/// The ratio at the top of every panel: room for the highest bar or floor, and its text.
fn scale(report: &Report) -> f64 {
    let spreads = report.results.iter().filter_map(|it| it.ratio_to_plain_spread).map(|[_, most]| most);
    let floors = FLOORS.iter().filter(|floor| floor.is_of_plain).map(|floor| floor.least);
    let most = spreads.chain(floors).fold(1.0, f64::max);
    ((most + 0.15) * 2.0).ceil() / 2.0
}

fn legend(picture: &mut Picture, designs: &[(Design, &str)]) {
    let mut x = MARGIN;
    for (design, colour) in designs {
        picture.rectangle([x, 14.0, 12.0, 12.0], colour, design.name());
        picture.text(x + 18.0, 25.0, LINE, Anchor::Start, design.name());
        x += 84.0;
    }
    picture.line([MARGIN, 42.0, MARGIN + 24.0, 42.0], "#111", "stroke-width=\"2\" stroke-dasharray=\"4 3\"");
    picture.text(MARGIN + 32.0, 46.0, LINE, Anchor::Start, "floor that is promised");
    picture.line([MARGIN + 212.0, 34.0, MARGIN + 212.0, 50.0], "#444", "stroke-width=\"1\"");
    picture.text(MARGIN + 222.0, 46.0, LINE, Anchor::Start, "least and most of all rounds; bars are medians");
}

fn axis(picture: &mut Picture, frame: &Frame) {
    let right = MARGIN + frame.width;
    let mut ratio = 0.0;
    while ratio <= frame.most {
        let y = frame.y(ratio);
        let is_plain = (ratio - 1.0).abs() < f64::EPSILON;
        let (stroke, more) = if is_plain { ("#222", "stroke-width=\"1.5\"") } else { ("#ddd", "stroke-width=\"1\"") };
        picture.line([MARGIN, y, right, y], stroke, more);
        picture.text(MARGIN - 8.0, y + 4.0, SMALL, Anchor::End, format!("{ratio:.1}"));
        ratio += 0.5;
    }
}

fn bar(
    picture: &mut Picture,
    report: &Report,
    frame: &Frame,
    (underlay, design, test): (Underlay, Design, Test),
    (left, colour): (f64, &str),
) {
    let figures = report.figures(underlay, design, test);
    let Some((ratio, [least, most])) = figures.and_then(|it| it.ratio_to_plain.zip(it.ratio_to_plain_spread)) else {
        return;
    };
    let (middle, y) = (left + BAR / 2.0, frame.y(ratio));
    let words = format!("{design}, {test}, {underlay}: {ratio:.2} ({least:.2} to {most:.2})");
    picture.rectangle([left + 4.0, y, BAR - 8.0, frame.y(0.0) - y], colour, &words);
    picture.line([middle, frame.y(least), middle, frame.y(most)], "#444", "stroke-width=\"1\"");
    let floor =
        FLOORS.iter().find(|it| it.is_of_plain && (it.underlay, it.design, it.test) == (underlay, design, test));
    let mut highest = most;
    if let Some(floor) = floor {
        let y = frame.y(floor.least);
        picture.line([left, y, left + BAR, y], "#111", "stroke-width=\"2\" stroke-dasharray=\"4 3\"");
        highest = highest.max(floor.least);
    }
    picture.text(middle, frame.y(highest) - 5.0, LINE, Anchor::Middle, format!("{ratio:.2}"));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;
    use crate::bench::data_plane::Options;
    use crate::bench::data_plane::report::{Seen, Turn};
    use crate::probe::load::Senders;
    use crate::sites::Family;

    /// A report in which every design has a rate at every test, those of the tiers above and below their floors.
    fn report() -> Report {
        let mut turns = Vec::new();
        for (underlay, share) in Underlay::ALL.into_iter().zip([1.0, 1.6]) {
            for test in Test::RATES {
                for (design, rate) in Design::ALL.into_iter().zip([100.0, 97.0, 40.0, 30.0, 80.0, 3.0]) {
                    let rate = if design == Design::Plain { rate } else { rate * share };
                    turns.extend([1.0, 1.1].map(|more| Turn {
                        design,
                        underlay,
                        test,
                        rate: rate * more,
                        retransmissions: 0,
                    }));
                }
            }
        }
        let options = Options {
            bin_dir: None,
            user_namespace: false,
            rounds: 2,
            turn: Duration::from_secs(2),
            pings: 0,
            idle: Duration::ZERO,
            designs: vec![],
            underlays: vec![],
            tests: vec![],
            senders: Senders::default(),
            inner: Family::V6,
            outer: Family::V4,
        };
        let machine = "2 cores, a processor with a <long> name & a number, Linux 6.18.0-something-amd64".to_owned();
        Report::new(machine, &options, Seen { turns, ..Seen::default() })
    }

    /// Left, top, right, bottom of a text in a wide sans-serif font.
    fn room(text: &Text) -> [f64; 4] {
        #[allow(clippy::cast_precision_loss)]
        let width = text.words.chars().count() as f64 * text.size * LETTER;
        let left = match text.anchor {
            Anchor::Start => text.x,
            Anchor::Middle => text.x - width / 2.0,
            Anchor::End => text.x - width,
        };
        [left, text.y - text.size * 0.8, left + width, text.y + text.size * 0.2]
    }

    #[test]
    fn no_text_overlaps_another_or_leaves_the_picture() {
        let picture = draw(&report());
        let rooms: Vec<_> = picture.texts.iter().map(|text| (room(text), &text.words)).collect();
        for (index, (a, words)) in rooms.iter().enumerate() {
            let inside = a[0] >= 0.0 && a[1] >= 0.0 && a[2] <= picture.width && a[3] <= picture.height;
            assert!(inside, "{words:?} at {a:?} of {} x {}", picture.width, picture.height);
            for (b, others) in &rooms[index + 1..] {
                let apart = a[2] <= b[0] || b[2] <= a[0] || a[3] <= b[1] || b[3] <= a[1];
                assert!(apart, "{words:?} at {a:?} and {others:?} at {b:?}");
            }
        }
        // 2 underlays, 3 tests, 4 designs; each has its number.
        assert_eq!(
            picture.texts.iter().filter(|text| text.words.parse::<f64>().is_ok() && text.size == LINE).count(),
            24
        );
    }

    #[test]
    fn every_floor_of_plain_routing_is_a_line() {
        let svg = draw(&report()).finish();
        let floors = FLOORS.iter().filter(|floor| floor.is_of_plain).count();
        assert_eq!(svg.matches("stroke-dasharray").count(), floors + 1, "and one in the legend");
        assert!(svg.contains("&lt;long&gt; name &amp; a number"));
    }

    #[test]
    fn a_picture_replaces_nothing_but_a_picture() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("ratios.svg");
        for earlier in [None, Some(""), Some(HEAD)] {
            earlier.iter().for_each(|text| std::fs::write(&place, text).unwrap());
            check(&place).unwrap();
            write(&place, &report()).unwrap();
            assert!(std::fs::read_to_string(&place).unwrap().starts_with(HEAD));
        }
        // A link is no way to another file, neither at its place nor beside it.
        let other = folder.path().join("other");
        std::fs::write(&other, HEAD).unwrap();
        std::fs::remove_file(&place).unwrap();
        for link in [&place, &place.with_extension("svg.new")] {
            std::os::unix::fs::symlink(&other, link).unwrap();
        }
        write(&place, &report()).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), HEAD);
        assert!(std::fs::symlink_metadata(&place).unwrap().is_file());
        std::fs::write(&place, "precious").unwrap();
        assert!(write(&place, &report()).unwrap_err().to_string().contains("--plot"));
        assert_eq!(std::fs::read_to_string(&place).unwrap(), "precious");
        assert!(check(&folder.path().join("nowhere/ratios.svg")).is_err());
    }

    #[test]
    fn what_was_promised_is_judged_by_the_ratios() {
        let report = report();
        let verdict = |name: &str| report.promises.iter().find(|line| line.name == name).map(|line| line.ok);
        assert_eq!(verdict("tier1-tcp1"), Some(true), "0.80 is enough");
        assert_eq!(verdict("tier0-tcp1"), Some(false), "0.30 is not");
        assert_eq!(verdict("tier1-udp64-super"), Some(false), "1.28 is not");
        assert_eq!(verdict("tier1-oor"), Some(true));
        assert_eq!(verdict("loss-100k"), None, "was not measured");
        assert!(!report.ok);
    }
}
