package org.distilltophone.app;

import android.content.Context;
import java.io.IOException;
import java.nio.ByteBuffer;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.GoldenFile;
import org.distilltophone.core.Sha256;
import org.distilltophone.core.UndecodableException;

/** Recomputes the golden vectors of the bundle on this phone with the current settings (docs/bundle.md). */
final class SelfCheck {
    final int images;
    /** Smallest cosine between the embeddings computed here and those in the bundle. */
    final double smallestCosine;
    final double needed;
    final long nanosEach;
    /** Number of golden files that can be compared bit for bit, and how many of them give the same pixels. */
    final int files;
    final int equalFiles;

    private SelfCheck(int images, double smallestCosine, double needed, long nanosEach, int files, int equalFiles) {
        this.images = images;
        this.smallestCosine = smallestCosine;
        this.needed = needed;
        this.nanosEach = nanosEach;
        this.files = files;
        this.equalFiles = equalFiles;
    }

    boolean passed() {
        return smallestCosine >= needed && equalFiles == files;
    }

    /** @throws IOException a file of the bundle is missing or damaged */
    static SelfCheck run(Context context, AppModel model) throws IOException {
        Bundle bundle = model.bundle;
        byte[][] pixels = bundle.goldenPixels();
        float[][] expected = bundle.goldenEmbeddings();
        double smallest = 1;
        long nanos = 0;
        for (int i = 0; i < pixels.length; i++) {
            long start = System.nanoTime();
            float[] here = model.embedder.embed(pixels[i]);
            nanos += System.nanoTime() - start;
            smallest = Math.min(smallest, cosine(here, expected[i]));
        }
        int files = 0;
        int equal = 0;
        for (GoldenFile golden : bundle.goldenFiles()) {
            if (golden.lossless()) { // JPEG decoders may differ by a level
                files++;
                equal += Sha256.of(pixels(context, bundle, golden)).equals(golden.pixelsSha256) ? 1 : 0;
            }
        }
        return new SelfCheck(pixels.length, smallest, bundle.variant().goldenMinCosine, nanos / Math.max(1, pixels.length),
            files, equal);
    }

    private static byte[] pixels(Context context, Bundle bundle, GoldenFile golden) throws IOException {
        ByteBuffer content = bundle.read(golden.file);
        byte[] file = new byte[content.remaining()];
        content.get(file);
        try {
            SharedImage image = SharedImage.decode(context, file);
            return bundle.preprocessing().pixels(image, image.orientation);
        } catch (UndecodableException broken) {
            throw new IOException(golden.file + ": " + broken.getMessage(), broken);
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
