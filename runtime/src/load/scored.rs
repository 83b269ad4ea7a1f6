//! What a loaded model scores: classes, at places or over them.

use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::{LOADED, Loaded};
use crate::asked::Target;
use crate::engine::TractOperators;
use crate::error::{Error, Result};
use crate::gradient::head::{Choice, Head};
use crate::gradient::target::find_target;
use crate::gradient::{names, over_places};
use crate::onnx::{Layout, Places};
use crate::record::{FileRecord, Over};

impl Loaded {
    /// Extents of the value that is explained.
    pub fn scores_shape(&self) -> Result<&[usize]> {
        Ok(&self.scores()?.0)
    }

    /// Those extents, and how its components are to be read as far as the graph says it.
    fn scores(&self) -> Result<&(Vec<usize>, Head)> {
        if let Some(known) = self.scores.get() {
            return Ok(known);
        }
        let found = match &self.ready_made {
            Some(ready) => (ready.facts.get(&ready.seed).map(|f| f.shape.clone()).unwrap_or(vec![0]), ready.head),
            None => {
                let target = find_target(&self.typed, self.output())?;
                (target.shape, target.head)
            }
        };
        Ok(self.scores.get_or_init(|| found))
    }

    /// How scores are to be read: those of a place compete where nothing else is said. `own` is what their graph says.
    pub(crate) fn head_of(&self, own: Head) -> Result<Head> {
        let shape = self.scores_shape()?;
        let places = || Ok::<_, Error>(self.places()?.map(|places| Choice::along(shape, places.class_axis())));
        Ok(Head { choice: own.choice.map_or_else(places, |choice| Ok(Some(choice)))?, ..own })
    }

    /// The same of what was loaded.
    pub(crate) fn head(&self) -> Result<Head> {
        self.head_of(self.scores()?.1)
    }

    /// Components of the value that is explained.
    pub fn classes(&self) -> Result<usize> {
        Ok(self.scores_shape()?.iter().product())
    }

    /// How many classes compete: all, those of a place, or one of something that is there or not; none where nobody knows it, as
    /// of boxes, and the largest number may be anything.
    pub fn competing(&self) -> Result<Option<usize>> {
        Ok(self.head()?.choice.map(|choice| choice.classes))
    }

    /// How scores lie, where they are of places, as segmentation has them: classes where a Softmax is taken along them, or where
    /// the other two axes have the image's proportions.
    pub fn places(&self) -> Result<Option<Places>> {
        let (shape, head) = self.scores()?;
        let along =
            |layout| Places::of(shape, layout).filter(|p| Some(Choice::along(shape, p.class_axis())) == head.choice);
        if head.choice.is_some() {
            return Ok([Layout::ChannelsFirst, Layout::ChannelsLast].into_iter().find_map(along));
        }
        let (input, layout) = (self.input_shape()?, self.layout()?.unwrap_or(Layout::ChannelsFirst));
        let extents = layout.split(&input).map_or((1, 1), |(_, height, width)| (height, width));
        Ok(Places::beside(shape, extents, layout))
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

    /// Which class, of any place, a target explains whatever the input: of two, the one ahead; none for one that scores decide, or
    /// that the model has not.
    pub fn category(&self, target: &Target) -> Option<usize> {
        let index = match target {
            Target::Class(index) => *index,
            Target::Named(name) => self.class(name).ok()?,
            Target::Margin { class, .. } => return self.category(class),
            Target::Top | Target::Ranked(_) => return None,
        };
        Some(self.places().ok()?.map_or(index, |places| places.parts(index).0))
    }

    /// The class, of any place, that a dataset calls by this name.
    pub fn category_named(&self, name: &str) -> Option<usize> {
        let classes = self.places().ok()?.map_or(self.classes().ok()?, |places| places.classes);
        self.card.class(name, classes).ok()
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
            None => vec![1.0; places.extents().iter().product()],
            Some((file, marked)) if !marked.contains(&true) => {
                return Err(Error::Input { path: file.file.clone().into(), reason: "marks no pixel".into() });
            }
            Some((file, marked)) => places.covered(marked, self.pixels(file, marked)?),
        };
        let operators = TractOperators::remembering(self.types.clone());
        self.typed = over_places(&self.typed, self.output(), &places, &covered, &operators)?;
        (self.output, self.scores) = (None, OnceLock::new());
        self.id = LOADED.fetch_add(1, Ordering::Relaxed);
        let over = region.map_or(Over::All, |(file, _)| Over::Region(file));
        let told = serde_json::to_string(&over).map_err(|error| Error::usage(error.to_string()))?;
        self.typed.graph.metadata.insert(names::OVER.into(), told);
        self.over = Some(over);
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
