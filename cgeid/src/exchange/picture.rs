// SPDX-License-Identifier: GPL-2.0-or-later
//! QR codes (ISO/IEC 18004) as pictures: PNG, SVG, and for a terminal. Only the program needs them, no daemon.

use std::io::Cursor;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};
use qrcode::{Color, EcLevel, QrCode};

use super::{Form, malformed, marks, text};
use crate::error::ExchangeError;
use crate::limits::{MAX_CORNER_MARKS, MAX_PICTURE, MAX_PICTURE_SIDE, MAX_SYMBOLS, PICTURE_PATIENCE};

/// White modules round the code (ISO/IEC 18004 9.1).
const QUIET: usize = 4;
/// Pixels of a module: 1,000 for the side of an RSA certificate, which is sharp on a screen and in print.
const SCALE: usize = 8;
/// Longest text for which the code gets redundancy of 15 %; above it, 7 % keep the modules large enough to photograph.
const MEDIUM: usize = 1024;
/// The library's number for a light pixel.
const LIGHT: u8 = 0;

/// A code with its quiet zone, row by row; true is dark.
struct Modules {
    side: usize,
    dark: Vec<bool>,
}

impl Modules {
    fn of(text: &str) -> Result<Modules, ExchangeError> {
        let level = if text.len() <= MEDIUM { EcLevel::M } else { EcLevel::L };
        let code = QrCode::with_error_correction_level(text, level).map_err(|error| malformed(Form::Picture, error))?;
        let (width, colours) = (code.width(), code.to_colors());
        let side = width + 2 * QUIET;
        let mut dark = vec![false; side * side];
        for (index, colour) in colours.into_iter().enumerate() {
            dark[(index / width + QUIET) * side + index % width + QUIET] = colour == Color::Dark;
        }
        Ok(Modules { side, dark })
    }

    /// Light beyond the edge.
    fn at(&self, x: usize, y: usize) -> bool {
        x < self.side && self.dark.get(y * self.side + x).copied().unwrap_or(false)
    }
}

/// A PNG picture of a text.
///
/// # Errors
/// [`ExchangeError::Malformed`] if the text is too long for a code.
pub fn encode_png(text: &str) -> Result<Vec<u8>, ExchangeError> {
    let modules = Modules::of(text)?;
    let side = modules.side * SCALE;
    let pixels = u32::try_from(side).map_err(|error| malformed(Form::Picture, error))?;
    let row_octets = side.div_ceil(8);
    let mut data = vec![0xff; row_octets * side];
    for (y, row) in data.chunks_mut(row_octets).enumerate() {
        for x in (0..side).filter(|x| modules.at(x / SCALE, y / SCALE)) {
            row[x / 8] &= !(0x80 >> (x % 8));
        }
    }
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, pixels, pixels);
    encoder.set_color(ColorType::Grayscale);
    encoder.set_depth(BitDepth::One);
    let written = encoder.write_header().and_then(|mut writer| {
        writer.write_image_data(&data)?;
        writer.finish()
    });
    written.map_err(|error| malformed(Form::Picture, error))?;
    Ok(out)
}

/// An SVG picture of a text, with the text in it.
///
/// # Errors
/// As for [`encode_png`].
pub fn encode_svg(text: &str) -> Result<String, ExchangeError> {
    let modules = Modules::of(text)?;
    let mut path = String::new();
    for y in 0..modules.side {
        let mut x = 0;
        while x < modules.side {
            let run = (x..modules.side).take_while(|&x| modules.at(x, y)).count();
            if run > 0 {
                path.push_str(&format!("M{x} {y}h{run}v1h-{run}z"));
            }
            x += run.max(1);
        }
    }
    let side = modules.side;
    Ok(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<svg xmlns=\"http://www.w3.org/2000/svg\" version=\"1.1\" \
         viewBox=\"0 0 {side} {side}\" width=\"{pixels}\" height=\"{pixels}\" shape-rendering=\"crispEdges\">\n{}\n\
         <path fill=\"#fff\" d=\"M0 0h{side}v{side}h-{side}z\"/>\n<path d=\"{path}\"/>\n</svg>\n",
        text::description(text),
        pixels = side * SCALE,
    ))
}

/// A text for a terminal that shows the code: half blocks, two modules one over the other. Light is drawn and dark is
/// left, as most terminals are dark; scanners read the other way round as well.
///
/// # Errors
/// As for [`encode_png`].
pub fn encode_terminal(text: &str) -> Result<String, ExchangeError> {
    let modules = Modules::of(text)?;
    let mut out = String::new();
    for y in (0..modules.side).step_by(2) {
        for x in 0..modules.side {
            // The odd last row has nothing below it: that half stays undrawn.
            let below_is_light = y + 1 < modules.side && !modules.at(x, y + 1);
            out.push(match (!modules.at(x, y), below_is_light) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        out.push('\n');
    }
    Ok(out)
}

/// The text of the one QR code in a PNG picture: one of ours, a screenshot, a photograph.
///
/// # Errors
/// [`ExchangeError::TooLong`], [`ExchangeError::Malformed`], [`ExchangeError::Several`], [`ExchangeError::Missing`].
pub fn decode_png(bytes: &[u8]) -> Result<String, ExchangeError> {
    let (width, height, grey) = pixels(bytes)?;
    within(PICTURE_PATIENCE, move || search(width, height, &grey))
}

/// What `work` gives if it gives it in time. One that takes longer is left to itself: it ends with the process.
fn within<T: Send + 'static>(
    patience: Duration,
    work: impl FnOnce() -> Result<T, ExchangeError> + Send + 'static,
) -> Result<T, ExchangeError> {
    let (done, waiting) = mpsc::channel();
    let worker = thread::Builder::new().spawn(move || {
        // Only one who waits no more cannot be told.
        let _ = done.send(work());
    });
    worker.map_err(|error| malformed(Form::Picture, error))?;
    waiting.recv_timeout(patience).unwrap_or_else(|why| {
        Err(malformed(
            Form::Picture,
            match why {
                RecvTimeoutError::Timeout => "looking for a QR code takes too long: show only the code",
                RecvTimeoutError::Disconnected => "looking for a QR code failed: show only the code",
            },
        ))
    })
}

/// The library's work grows with the cube of the corner marks, and some kilobytes can hold thousands of them: they are
/// counted before they are matched.
fn search(width: usize, height: usize, grey: &[u8]) -> Result<String, ExchangeError> {
    let mut image = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| grey[y * width + x]);
    let dark: Vec<bool> =
        (0..grey.len()).map(|at| u8::from(image.get_pixel_at(at % width, at / width)) != LIGHT).collect();
    let marks = marks::count(width, &dark);
    if marks > MAX_CORNER_MARKS {
        let detail = format!("{marks} corner marks of QR codes are in it, at most {MAX_CORNER_MARKS} are looked at");
        return Err(malformed(Form::Picture, detail));
    }
    let grids = image.detect_grids();
    if grids.len() > MAX_SYMBOLS {
        return Err(ExchangeError::Several { form: Form::Picture, what: "QR codes" });
    }
    let mut failure = None;
    let mut texts = Vec::new();
    for grid in grids {
        match grid.decode() {
            Ok((_, text)) => texts.push(text),
            Err(error) => failure = Some(error),
        }
    }
    match (texts.pop(), texts.len(), failure) {
        (Some(text), 0, _) => Ok(text),
        (Some(_), _, _) => Err(ExchangeError::Several { form: Form::Picture, what: "QR codes" }),
        (None, _, Some(error)) => Err(malformed(Form::Picture, format!("the QR code cannot be read: {error}"))),
        (None, _, None) => Err(malformed(Form::Picture, "no QR code is seen (is it cut, or without a white edge?)")),
    }
}

/// Width, height and brightness, after both were judged: a small file can unfold to gigabytes.
fn pixels(bytes: &[u8]) -> Result<(usize, usize, Vec<u8>), ExchangeError> {
    if bytes.len() > MAX_PICTURE {
        return Err(ExchangeError::TooLong { length: bytes.len() });
    }
    let bad = |error| malformed(Form::Picture, format!("PNG: {error}"));
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: MAX_PICTURE });
    decoder.set_transformations(Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(bad)?;
    let (width, height) = (reader.info().width, reader.info().height);
    if width > MAX_PICTURE_SIDE || height > MAX_PICTURE_SIDE {
        let detail = format!("{width} x {height} pixels, at most {MAX_PICTURE_SIDE} each way are looked at");
        return Err(malformed(Form::Picture, detail));
    }
    let size = reader.output_buffer_size().ok_or_else(|| malformed(Form::Picture, "PNG of no size"))?;
    let mut data = vec![0; size];
    let frame = reader.next_frame(&mut data).map_err(bad)?;
    data.truncate(frame.buffer_size());
    let samples = frame.color_type.samples();
    let grey: Vec<u8> = data.chunks_exact(samples).map(|pixel| brightness(frame.color_type, pixel)).collect();
    let (width, height) = (frame.width as usize, frame.height as usize);
    if grey.len() != width * height {
        return Err(malformed(Form::Picture, "PNG without all its pixels"));
    }
    Ok((width, height, grey))
}

/// What is transparent is taken as the white paper below it.
fn brightness(colour: ColorType, pixel: &[u8]) -> u8 {
    let (grey, alpha) = match (colour, pixel) {
        (ColorType::GrayscaleAlpha, &[grey, alpha]) => (u32::from(grey), u32::from(alpha)),
        (ColorType::Rgba, &[red, green, blue, alpha]) => (mean(red, green, blue), u32::from(alpha)),
        (_, &[red, green, blue, ..]) => (mean(red, green, blue), 255),
        (_, pixel) => (pixel.first().copied().map_or(255, u32::from), 255),
    };
    let over_white = (grey * alpha + 255 * (255 - alpha)) / 255;
    u8::try_from(over_white).unwrap_or(u8::MAX)
}

fn mean(red: u8, green: u8, blue: u8) -> u32 {
    (u32::from(red) + u32::from(green) + u32::from(blue)) / 3
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_search_is_waited_for_only_so_long() {
        let (hold, held) = mpsc::channel::<()>();
        let error = within(Duration::from_millis(10), move || {
            // Until the test ends.
            let _ = held.recv();
            Ok(())
        });
        assert!(error.unwrap_err().to_string().contains("too long"));
        drop(hold);
        assert_eq!(within(PICTURE_PATIENCE, || Ok(1)), Ok(1));
    }
}
