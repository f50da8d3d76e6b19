package org.distilltophone.core;

import java.io.IOException;
import java.nio.ByteBuffer;

/**
 * Recomputes the golden images of a bundle with an app's own decoder, preprocessing and model, step by step ("Testing each step"
 * in docs/bundle.md). What can be equal has to be: the cosine alone would pass swapped channels.
 */
public final class GoldenCheck {
    // As in Python: limits after the resize, in levels, for a JPEG.
    private static final double JPEG_MEAN = 1;
    private static final int JPEG_LARGEST = 32;

    /** The first step of docs/bundle.md that deviates: 1 decode, 2 resize and crop, 3 input tensor, 4 model; 0 if none does. */
    public final int step;
    /** What deviates; empty if nothing does. */
    public final String problem;
    /** What to do about it. */
    public final String cure;
    /** Number of golden images. */
    public final int images;
    /** Smallest cosine between the embeddings computed here and those in the bundle. */
    public final double smallestCosine;
    public final double needed;
    public final long nanosEach;
    /** Number of lossless golden files, and how many of them give exactly the pixels of the bundle. */
    public final int files;
    public final int equalFiles;
    /** Number of input tensors of which the bundle has the hash (0: an older bundle), and how many of them are equal here. */
    public final int inputs;
    public final int equalInputs;

    private GoldenCheck(Run run, Bundle bundle) {
        step = run.step;
        problem = run.problem;
        cure = run.cure;
        images = run.pixels.length;
        smallestCosine = run.smallest;
        needed = bundle.variant().goldenMinCosine;
        nanosEach = run.nanos / Math.max(1, images);
        files = run.files;
        equalFiles = run.equalFiles;
        inputs = bundle.variant().goldenInputSha256().length;
        equalInputs = run.equalInputs;
    }

    /** Returns whether every step gives what it gave when the bundle was exported. */
    public boolean passed() {
        return step == 0;
    }

    /**
     * Runs all steps.
     *
     * @param embedder with the model of the bundle's variant
     * @param decoder the one that the app uses for images
     * @throws IOException a file of the bundle is missing or damaged, or memory is short
     */
    public static GoldenCheck run(Bundle bundle, Embedder embedder, ImageFileDecoder decoder) throws IOException {
        Run run = new Run(bundle.goldenPixels());
        for (GoldenFile golden : bundle.goldenFiles()) {
            run.file(bundle, golden, decoder);
        }
        run.inputs(bundle, embedder);
        run.model(bundle, embedder);
        return new GoldenCheck(run, bundle);
    }

    /** The findings so far. */
    private static final class Run {
        final byte[][] pixels;
        int step;
        String problem = "";
        String cure = "";
        double smallest = 1;
        long nanos;
        int files;
        int equalFiles;
        int equalInputs;

        Run(byte[][] pixels) {
            this.pixels = pixels;
        }

        private void found(int where, String what, String advice) {
            if (step == 0) { // later steps may deviate because of the first
                step = where;
                problem = what;
                cure = advice;
            }
        }

        void file(Bundle bundle, GoldenFile golden, ImageFileDecoder decoder) throws IOException {
            files += golden.lossless() ? 1 : 0;
            ByteBuffer content = bundle.read(golden.file);
            byte[] file = new byte[content.remaining()];
            content.get(file);
            String advice = "decode the whole image to 8-bit RGB, upright, without colour conversion (docs/preprocessing.md, 1)";
            try (ImageFileDecoder.Decoded image = decoder.decode(file)) {
                UprightRows rows = new UprightRows(image, image.orientation());
                if (rows.width != golden.width || rows.height != golden.height) {
                    found(1, "step 1, decoding: " + golden.file + " has " + rows.width + " x " + rows.height + " pixels instead of "
                        + golden.width + " x " + golden.height, "apply the EXIF orientation (docs/preprocessing.md, 1)");
                    return;
                }
                boolean decoded = Sha256.of(rgb(rows)).equals(golden.decodedSha256);
                if (!decoded && golden.lossless()) {
                    found(1, "step 1, decoding: " + golden.file + " gives other pixels", advice);
                    return;
                }
                byte[] made = bundle.preprocessing().pixels(image, image.orientation());
                boolean resized = Sha256.of(made).equals(golden.pixelsSha256);
                equalFiles += resized && golden.lossless() ? 1 : 0;
                long sum = 0;
                int largest = 0;
                for (int i = 0; i < made.length; i++) {
                    int apart = Math.abs((made[i] & 255) - (pixels[golden.row][i] & 255));
                    largest = Math.max(largest, apart);
                    sum += apart;
                }
                if (resized != (largest == 0)) {
                    found(2, "the bundle contradicts itself: " + golden.file + " is not row " + golden.row + " of the golden pixels",
                        "export it again");
                } else if (decoded && !resized) {
                    found(2, "step 2, resize and crop: " + golden.file + " gives other pixels, up to " + largest + " levels off",
                        "resize and crop as docs/preprocessing.md says, 2 and 3");
                } else if (largest > JPEG_LARGEST || sum > JPEG_MEAN * made.length) {
                    found(1, "step 1, decoding: " + golden.file + " differs from any correct JPEG decoder, up to " + largest
                        + " levels off", advice);
                }
            } catch (UndecodableException bad) {
                found(1, "step 1, decoding: " + golden.file + ": " + bad.getMessage(), advice);
            }
        }

        private static byte[] rgb(UprightRows rows) {
            byte[] all = new byte[Math.multiplyExact(rows.height, rows.width * 3)];
            byte[] row = new byte[rows.width * 3];
            for (int y = 0; y < rows.height; y++) {
                rows.read(y, row);
                System.arraycopy(row, 0, all, y * row.length, row.length);
            }
            return all;
        }

        void inputs(Bundle bundle, Embedder embedder) {
            String[] wanted = bundle.variant().goldenInputSha256();
            int first = -1;
            for (int i = 0; i < wanted.length; i++) {
                boolean equal = embedder.inputSha256(pixels[i]).equals(wanted[i]);
                equalInputs += equal ? 1 : 0;
                first = equal || first >= 0 ? first : i;
            }
            if (first >= 0) {
                found(3, "step 3, the input tensor: other values for " + (wanted.length - equalInputs) + " of " + wanted.length
                    + " golden images (first: image " + first + ")",
                    "compare channel order, mean, std, scale, zero point and layout with docs/bundle.md, step 3");
            }
        }

        void model(Bundle bundle, Embedder embedder) throws IOException {
            float[][] expected = bundle.goldenEmbeddings();
            for (int i = 0; i < pixels.length; i++) {
                long start = System.nanoTime();
                float[] here = embedder.embed(pixels[i]);
                nanos += System.nanoTime() - start;
                smallest = Math.min(smallest, cosine(here, expected[i]));
            }
            double needed = bundle.variant().goldenMinCosine;
            if (!(smallest >= needed)) {
                found(4, "step 4, the model: smallest cosine " + smallest + ", required: at least " + needed,
                    "run the model another way: another delegate, or another variant");
            }
        }

        private static double cosine(float[] a, float[] b) {
            double dot = 0;
            double aa = 0;
            double bb = 0;
            for (int i = 0; i < a.length; i++) {
                dot += (double) a[i] * b[i];
                aa += (double) a[i] * a[i];
                bb += (double) b[i] * b[i];
            }
            return dot / Math.sqrt(Math.max(aa * bb, Double.MIN_NORMAL));
        }
    }
}
