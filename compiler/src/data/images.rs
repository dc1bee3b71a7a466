//! A folder of images, sorted by name, with labels from `labels.csv` or the names of its subfolders.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use image::imageops::{FilterType, crop_imm, resize};
use image::{DynamicImage, GenericImageView, RgbImage};

use crate::data::Resize;
use crate::{Error, Result, bail};

const EXTENSIONS: &[&str] = &["jpg", "jpeg", "png", "bmp", "ppm", "pgm", "pnm"];

/// One image and what it shows.
pub(super) type Labelled = (PathBuf, Option<i64>);

/// The images of a folder, or of its subfolders, whose names then are the labels: numbers, or else
/// their position in alphabetical order.
pub(super) fn list(folder: &Path) -> Result<Vec<Labelled>> {
    let (files, folders) = entries(folder)?;
    let images = |files: Vec<PathBuf>| files.into_iter().filter(|f| is_image(f));
    let mut labels = csv(folder)?;
    let mut found: Vec<Labelled> = images(files)
        .map(|file| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            let label = labels.remove(name.as_ref());
            (file, label)
        })
        .collect();
    if found.is_empty() {
        let number = |f: &PathBuf| f.file_name()?.to_str()?.parse::<i64>().ok();
        let all_numbers = folders.iter().all(|f| number(f).is_some());
        for (position, class) in folders.iter().enumerate() {
            let position = position as i64;
            let label = number(class).filter(|_| all_numbers).unwrap_or(position);
            found.extend(images(entries(class)?.0).map(|file| (file, Some(label))));
        }
    }
    if found.is_empty() {
        bail!(
            "no images in {}", folder.display();
            hint: "images end in {}", EXTENSIONS.join(", ")
        );
    }
    Ok(found)
}

/// Files and folders, each sorted by name.
fn entries(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let failed = |e| Error::new(format!("{}: {e}", folder.display()));
    let mut paths = std::fs::read_dir(folder)
        .map_err(failed)?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    paths.sort();
    Ok(paths.into_iter().partition(|p| !p.is_dir()))
}

fn is_image(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    EXTENSIONS.iter().any(|known| extension == *known)
}

/// `name,label` lines of `labels.csv`; further columns and lines without a number are skipped.
fn csv(folder: &Path) -> Result<BTreeMap<String, i64>> {
    let path = folder.join("labels.csv");
    if !path.exists() {
        return Ok(BTreeMap::new());
    }
    let text = std::fs::read_to_string(&path)
        .map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    let rows = text.lines().filter_map(|line| {
        let mut columns = line.split(',').map(str::trim);
        let name = columns.next()?.to_string();
        Some((name, columns.next()?.parse().ok()?))
    });
    Ok(rows.collect())
}

/// The bytes of one image, height × width × channels, in the size asked for.
pub(super) fn decode(
    path: &Path,
    channels: usize,
    size: (u32, u32),
    how: Option<Resize>,
) -> Result<Vec<u8>> {
    let image = image::open(path).map_err(|e| Error::new(format!("{}: {e}", path.display())))?;
    let (width, height) = size;
    let image = match how {
        None => image,
        Some(Resize::Exact(w, h)) => scaled(image, w, h),
        Some(Resize::ShortSide(side)) => centre(image, side, size),
    };
    if image.dimensions() != size {
        let (w, h) = image.dimensions();
        bail!(
            "{} is {w}x{h}, the model expects {width}x{height}", path.display();
            hint: "scale with --resize {width}x{height}, or keep proportions with --resize {} \
                   (the shorter side; the centre is cut out)", width.min(height)
        );
    }
    Ok(match channels {
        1 => image.to_luma8().into_raw(),
        _ => image.to_rgb8().into_raw(),
    })
}

/// Bilinear, widened when shrinking so that no pixel is skipped.
fn scaled(image: DynamicImage, width: u32, height: u32) -> DynamicImage {
    if image.dimensions() == (width, height) {
        return image;
    }
    let rgb: RgbImage = resize(&image.to_rgb8(), width, height, FilterType::Triangle);
    rgb.into()
}

/// The shorter side scaled to `side`, then the centre cut out.
fn centre(image: DynamicImage, side: u32, (width, height): (u32, u32)) -> DynamicImage {
    let (w, h) = image.dimensions();
    let other = |long: u32, short: u32| {
        (f64::from(long) * f64::from(side) / f64::from(short)).round() as u32
    };
    let (w, h) = if w < h {
        (side, other(h, w))
    } else {
        (other(w, h), side)
    };
    let image = scaled(image, w, h);
    if w < width || h < height {
        return image;
    }
    let (x, y) = ((w - width) / 2, (h - height) / 2);
    crop_imm(&image.to_rgb8(), x, y, width, height)
        .to_image()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: u32, height: u32) -> DynamicImage {
        RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 7])).into()
    }

    #[test]
    fn the_centre_is_cut_out_of_the_scaled_image() {
        let cut = centre(picture(20, 10), 10, (6, 6)).to_rgb8();
        assert_eq!(cut.dimensions(), (6, 6));
        assert_eq!(cut.get_pixel(0, 0).0, [7, 2, 7]);
    }

    #[test]
    fn subfolders_are_labels_and_files_are_sorted() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["10/b.png", "10/a.png", "2/c.png"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            picture(2, 2).save(path).unwrap();
        }
        let found = list(folder.path()).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|(p, l)| (p.strip_prefix(folder.path()).unwrap().to_str().unwrap(), *l))
            .collect();
        assert_eq!(
            names,
            [
                ("10/a.png", Some(10)),
                ("10/b.png", Some(10)),
                ("2/c.png", Some(2))
            ]
        );
    }

    #[test]
    fn a_csv_labels_files() {
        let folder = tempfile::tempdir().unwrap();
        picture(3, 2).save(folder.path().join("x.png")).unwrap();
        std::fs::write(
            folder.path().join("labels.csv"),
            "file,label\nx.png,4,cat\n",
        )
        .unwrap();
        let found = list(folder.path()).unwrap();
        assert_eq!(found[0].1, Some(4));
        let wrong_size = decode(&found[0].0, 3, (2, 2), None).unwrap_err();
        assert!(
            wrong_size
                .to_string()
                .contains("is 3x2, the model expects 2x2")
        );
        let bytes = decode(&found[0].0, 3, (3, 2), None).unwrap();
        assert_eq!(bytes[3..6], [1, 0, 7]);
    }
}
