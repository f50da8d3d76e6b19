package org.distilltophone.jvm;

import java.io.ByteArrayInputStream;
import java.io.DataInputStream;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.distilltophone.core.Bundle;
import org.distilltophone.core.Embedder;
import org.distilltophone.core.Exif;
import org.distilltophone.core.FlatIndex;
import org.distilltophone.core.Gallery;
import org.distilltophone.core.GoldenCheck;
import org.distilltophone.core.GoldenFile;
import org.distilltophone.core.Index;
import org.distilltophone.core.Int8;
import org.distilltophone.core.ModelFile;
import org.distilltophone.core.Preprocessing;
import org.distilltophone.core.Sha256;
import org.distilltophone.core.TopK;
import org.distilltophone.core.UndecodableException;

/** Commands with which tests/android calls the phone's code. Raw files are little-endian and have no header. */
public final class Tool {
    private static final String USAGE = """
        golden BUNDLE VARIANT             runs each golden image through every step; one line each, and the verdict
        pixels BUNDLE LIST OUT            decodes, rotates and resizes the files named in LIST: uint8 pixels to OUT
        embed BUNDLE VARIANT PIXELS OUT   uint8 pixels to float32 embeddings
        codes DIMENSION ROWS OUT          float32 embeddings to the int8 rows of a gallery
        recall GALLERY LABELS             Recall@1 of every row among the others, and their nearest rows
        search GALLERY QUERIES K exact|best   float32 queries: rows and products; one line each
        operators FILE...                 number of operators of each TFLite file; one line each
        sizes CASES                       compares resizing with Python, see tests/android
        """;

    private Tool() {}

    public static void main(String[] a) throws Exception {
        switch (a.length == 0 ? "" : a[0]) {
            case "golden" -> golden(bundle(a[1], a[2]));
            case "pixels" -> pixels(bundle(a[1], null), Files.readAllLines(Path.of(a[2])), Path.of(a[3]));
            case "embed" -> embed(bundle(a[1], a[2]), Path.of(a[3]), Path.of(a[4]));
            case "codes" -> codes(Integer.parseInt(a[1]), Path.of(a[2]), Path.of(a[3]));
            case "recall" -> recall(new File(a[1]), Files.readAllLines(Path.of(a[2])));
            case "search" -> search(new File(a[1]), Path.of(a[2]), Integer.parseInt(a[3]), a[4].equals("exact"));
            case "operators" -> {
                for (int i = 1; i < a.length; i++) {
                    System.out.println(ModelFile.operators(ByteBuffer.wrap(Files.readAllBytes(Path.of(a[i])))));
                }
            }
            case "sizes" -> sizes(Path.of(a[1]));
            default -> {
                System.err.print(USAGE);
                System.exit(2);
            }
        }
    }

    private static Bundle bundle(String folder, String variant) throws IOException {
        Bundle bundle = Bundle.open(new FolderSource(new File(folder)), variant);
        bundle.checkAllFiles();
        return bundle;
    }

    static Embedder embedder(Bundle bundle) throws IOException {
        return new Embedder(bundle, new JvmEngine(bundle.model(), bundle.variant().input, bundle.variant().output, 1));
    }

    private static ArgbImage decode(byte[] file) throws IOException {
        try {
            return ImageIoDecoder.image(file);
        } catch (UndecodableException bad) {
            throw new IOException(bad.getMessage(), bad);
        }
    }

    private static void golden(Bundle bundle) throws IOException {
        byte[][] pixels = bundle.goldenPixels();
        for (GoldenFile golden : bundle.goldenFiles()) {
            ByteBuffer content = bundle.read(golden.file);
            byte[] file = new byte[content.remaining()];
            content.get(file);
            ArgbImage upright = decode(file).upright(Exif.orientation(new ByteArrayInputStream(file)));
            byte[] made = bundle.preprocessing().pixels(upright, 1);
            int apart = 0;
            for (int i = 0; i < made.length; i++) {
                apart = Math.max(apart, Math.abs((made[i] & 255) - (pixels[golden.row][i] & 255)));
            }
            boolean size = upright.width() == golden.width && upright.height() == golden.height;
            System.out.printf("file %s lossless=%b size=%b decoded=%b pixels=%b apart=%d%n", golden.file, golden.lossless(), size,
                Sha256.of(rgb(upright)).equals(golden.decodedSha256), Sha256.of(made).equals(golden.pixelsSha256), apart);
        }
        float[][] expected = bundle.goldenEmbeddings();
        String[] inputs = bundle.variant().goldenInputSha256();
        try (Embedder embedder = embedder(bundle)) {
            GoldenCheck check = GoldenCheck.run(bundle, embedder, new ImageIoDecoder());
            System.out.printf("verdict %s%n", check.passed() ? "passed" : check.problem + " (" + check.cure + ")");
            for (int i = 0; i < pixels.length; i++) {
                float[] found = embedder.embed(pixels[i]);
                double cosine = 0;
                for (int d = 0; d < found.length; d++) {
                    cosine += found[d] * expected[i][d];
                }
                String input = inputs.length == 0 ? "unknown" : String.valueOf(embedder.inputSha256(pixels[i]).equals(inputs[i]));
                System.out.printf("row %d input=%s equal=%b cosine=%.7f least=%.7f%n", i, input, Arrays.equals(found, expected[i]),
                    cosine, bundle.variant().goldenMinCosine);
            }
        }
    }

    private static byte[] rgb(ArgbImage image) {
        byte[] out = new byte[image.argb.length * 3];
        for (int i = 0; i < image.argb.length; i++) {
            out[3 * i] = (byte) (image.argb[i] >> 16);
            out[3 * i + 1] = (byte) (image.argb[i] >> 8);
            out[3 * i + 2] = (byte) image.argb[i];
        }
        return out;
    }

    private static void pixels(Bundle bundle, List<String> files, Path out) throws IOException {
        try (var stream = Files.newOutputStream(out)) {
            for (String file : files) {
                byte[] content = Files.readAllBytes(Path.of(file));
                int orientation = Exif.orientation(new ByteArrayInputStream(content));
                stream.write(bundle.preprocessing().pixels(decode(content), orientation));
            }
        }
    }

    private static void embed(Bundle bundle, Path in, Path out) throws IOException {
        int side = bundle.preprocessing().inputSize;
        try (var from = new DataInputStream(Files.newInputStream(in)); var to = Files.newOutputStream(out);
                Embedder embedder = embedder(bundle)) {
            byte[] pixels = new byte[side * side * 3];
            ByteBuffer row = ByteBuffer.allocate(bundle.dimension() * 4).order(ByteOrder.LITTLE_ENDIAN);
            for (long left = Files.size(in) / pixels.length; left > 0; left--) {
                from.readFully(pixels);
                row.asFloatBuffer().put(embedder.embed(pixels));
                to.write(row.array());
            }
        }
    }

    private static float[][] rows(Path file, int dimension) throws IOException {
        ByteBuffer all = ByteBuffer.wrap(Files.readAllBytes(file)).order(ByteOrder.LITTLE_ENDIAN);
        float[][] out = new float[all.capacity() / 4 / dimension][dimension];
        for (float[] row : out) {
            for (int d = 0; d < dimension; d++) {
                row[d] = all.getFloat();
            }
        }
        return out;
    }

    private static void codes(int dimension, Path in, Path out) throws IOException {
        try (var to = Files.newOutputStream(out)) {
            for (float[] row : rows(in, dimension)) {
                to.write(Int8.row(row));
            }
        }
    }

    private static void recall(File file, List<String> labels) throws IOException {
        Gallery gallery = FolderSource.gallery(file);
        FlatIndex index = new FlatIndex(gallery);
        TopK top = new TopK(2);
        byte[] query = new byte[gallery.dimension()];
        ByteBuffer rows = gallery.rows();
        int hits = 0;
        StringBuilder nearest = new StringBuilder();
        for (int i = 0; i < gallery.count(); i++) {
            rows.get(query);
            index.search(query, 2, top);
            int other = top.row(top.row(0) == i ? 1 : 0);
            hits += labels.get(i).equals(labels.get(other)) ? 1 : 0;
            nearest.append(' ').append(other);
        }
        System.out.printf("recall@1 %d of %d%nnearest%s%n", hits, gallery.count(), nearest);
    }

    private static void search(File file, Path queries, int k, boolean exact) throws IOException {
        Gallery gallery = FolderSource.gallery(file);
        Index index = exact ? new FlatIndex(gallery) : PrefilterIndex.best(gallery);
        TopK top = new TopK(k);
        for (float[] query : rows(queries, gallery.dimension())) {
            index.search(Int8.quantize(query), k, top);
            StringBuilder line = new StringBuilder();
            for (int i = 0; i < top.size(); i++) {
                line.append(top.row(i)).append(':').append(top.dot(i)).append(' ');
            }
            System.out.println(line.toString().trim());
        }
    }

    /** Each case: five int32 (width, height, input size, resize size, orientation), RGBA pixels, the expected RGB pixels. */
    private static void sizes(Path cases) throws IOException {
        ByteBuffer in = ByteBuffer.wrap(Files.readAllBytes(cases)).order(ByteOrder.LITTLE_ENDIAN);
        int good = 0;
        int all = 0;
        for (; in.hasRemaining(); all++) {
            int width = in.getInt();
            int height = in.getInt();
            int input = in.getInt();
            int resize = in.getInt();
            int orientation = in.getInt();
            int[] argb = new int[width * height];
            for (int i = 0; i < argb.length; i++) {
                int rgba = Integer.reverseBytes(in.getInt());
                argb[i] = rgba >>> 8 | rgba << 24;
            }
            byte[] expected = new byte[input * input * 3];
            in.get(expected);
            byte[] found = preprocessing(input, resize).pixels(new ArgbImage(argb, width, height), orientation);
            if (Arrays.equals(expected, found)) {
                good++;
            } else {
                System.out.printf("differs: %d x %d, input %d, resize %d, orientation %d%n", width, height, input, resize, orientation);
            }
        }
        System.out.printf("equal %d of %d%n", good, all);
    }

    private static Preprocessing preprocessing(int input, int resize) {
        return new Preprocessing(input, resize, new double[] {128, 128, 128}, new double[] {128, 128, 128});
    }

    static {
        System.setOut(new java.io.PrintStream(System.out, true, StandardCharsets.UTF_8));
    }
}
