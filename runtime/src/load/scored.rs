//! What a loaded model scores: classes, at places or over them.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::{LOADED, Loaded};
use crate::engine::TractOperators;
use crate::error::{Error, Result};
use crate::gradient::over_places;
use crate::gradient::target::find_target;
use crate::onnx::card::LayoutName;
use crate::onnx::{Layout, Places};
use crate::record::{FileRecord, Over};

impl Loaded {
    /// Extents of the value that is explained.
    pub fn scores_shape(&self) -> Result<&[usize]> {
        if let Some(known) = self.scores.get() {
            return Ok(known);
        }
        let found = match &self.ready_made {
            Some(ready) => ready.facts.get(&ready.seed).map(|f| f.shape.clone()).unwrap_or(vec![0]),
            None => find_target(&self.typed, self.output())?.shape,
        };
        Ok(self.scores.get_or_init(|| found))
    }

    /// Components of the value that is explained.
    pub fn classes(&self) -> Result<usize> {
        Ok(self.scores_shape()?.iter().product())
    }

    /// How scores lie, where they are of places, as segmentation has them.
    pub fn places(&self) -> Result<Option<Places>> {
        let last = self.card.input.layout == Some(LayoutName::Nhwc);
        let layout = if last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
        Ok(Places::of(self.scores_shape()?, layout))
    }

    /// The class that an index or a label means; of scores of places also `CLASS@ROW,COLUMN`.
    pub fn class(&self, name: &str) -> Result<usize> {
        match (self.places()?, name.rsplit_once('@')) {
            (Some(places), Some((class, at))) => places.named(class, at, &self.card),
            (Some(places), None) if name.parse::<usize>().is_err() => {
                self.card.class(name, places.classes)?;
                let reason = format!("the model scores every place; say which one's '{name}': {name}@ROW,COLUMN");
                Err(Error::Target { reason })
            }
            _ => self.card.class(name, self.classes()?),
        }
    }

    /// What a class is called, where it has a name.
    pub fn label(&self, class: usize) -> Option<String> {
        let places = self.places().ok().flatten();
        let of_places = places.map(|places| places.name(class, &self.card));
        of_places.or_else(|| self.card.label(class, self.classes().ok()?).map(str::to_string))
    }

    /// The same model with one score for each class, where it scores every place: the mean of the class's scores over all
    /// places, or over a region: a picture, and whether it marks each of the input's pixels, row by row. A place counts by how
    /// much of what it covers is marked.
    ///
    /// Errors: a model that does not score places; a gradient graph, which explains what it was made for; a region without
    /// pixels, or of another number of them.
    pub fn over(mut self, region: Option<(FileRecord, Vec<bool>)>) -> Result<Loaded> {
        if self.ready_made.is_some() {
            return Err(Error::usage(
                "which places are explained is settled in a gradient graph; use the forward model",
            ));
        }
        let places = self.places()?.ok_or_else(|| {
            let shape = self.scores_shape().unwrap_or_default();
            Error::usage(format!("the model does not score places, its scores have the shape {shape:?}"))
        })?;
        let covered = match &region {
            None => None,
            Some((file, marked)) if !marked.contains(&true) => {
                return Err(Error::Input { path: file.file.clone().into(), reason: "marks no pixel".into() });
            }
            Some((file, marked)) => Some(places.covered(marked, self.pixels(file, marked)?)),
        };
        self.typed = over_places(&self.typed, self.output(), &places, covered.as_deref(), &TractOperators::default())?;
        (self.output, self.scores) = (None, OnceLock::new());
        self.id = LOADED.fetch_add(1, Ordering::Relaxed);
        self.over = Some(region.map_or(Over::All, |(file, _)| Over::Region(file)));
        Ok(self)
    }

    /// Rows and columns of the input, for a picture that says of each pixel whether it is marked.
    ///
    /// Errors: another number of pixels.
    pub(crate) fn pixels(&self, file: &FileRecord, marked: &[bool]) -> Result<(usize, usize)> {
        let shape = self.input_shape()?;
        let (_, height, width) = self.layout()?.and_then(|layout| layout.split(&shape)).unwrap_or_default();
        if marked.len() != height * width {
            let reason = format!("marks {} pixels, but the input has {}", marked.len(), height * width);
            return Err(Error::Input { path: file.file.clone().into(), reason });
        }
        Ok((height, width))
    }

    /// Which places a class's score is the mean of, where [`Loaded::over`] said so.
    pub fn places_taken(&self) -> Option<&Over> {
        self.over.as_ref()
    }
}
