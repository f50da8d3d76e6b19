"""Image sets opened by a data spec, class-disjoint splits, and the preprocessing that a phone reproduces.

Nothing here needs torch or TensorFlow. Import from the modules: ``distill.data.spec.open_data``,
``distill.data.split.split``, ``distill.data.preprocess.Preprocessing``,
``distill.data.batches.pixel_batches``, ``distill.data.store.PixelStore``.
"""
