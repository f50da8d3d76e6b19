package org.distilltophone.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import java.util.Random;
import org.junit.Test;

/** A model whose embedding hardly depends on the image: every deviation before it passes the cosine. */
public class GoldenCheckTest {
    private static final int SIDE = TestModel.SIDE;
    private static final int STORED = 5; // the shorter side after the resize, so that only the crop remains to be done
    private static final String FILE = "golden/image0.png";

    /** What a careless client does to a value. */
    private enum Change {
        SWAPPED, OFF_BY_ONE, GAMMA;

        byte[] of(byte[] rgb) {
            byte[] out = new byte[rgb.length];
            for (int i = 0; i < out.length; i++) {
                int value = rgb[i] & 255;
                switch (this) {
                    case SWAPPED: out[i] = rgb[i - i % 3 + 2 - i % 3]; break;
                    case OFF_BY_ONE: out[i] = (byte) Math.min(255, value + 1); break;
                    default: out[i] = (byte) Math.rint(255 * Math.pow(value / 255.0, 1.1));
                }
            }
            return out;
        }
    }

    private static byte[] noise(int bytes) {
        byte[] out = new byte[bytes];
        new Random(bytes).nextBytes(out);
        return out;
    }

    /** The file: raw RGB of STORED x STORED, decoded by {@link Decoder}. */
    private static final byte[] IMAGE = noise(STORED * STORED * 3);

    private static byte[] pixels() throws IOException {
        byte[] all = noise(2 * SIDE * SIDE * 3);
        byte[] first = TestModel.bundle().preprocessing().pixels(new Decoder(null).decode(IMAGE), 1);
        System.arraycopy(first, 0, all, 0, first.length);
        return all;
    }

    private static final class Decoder implements ImageFileDecoder {
        private final Change change;

        Decoder(Change change) {
            this.change = change;
        }

        @Override
        public String name() {
            return "raw";
        }

        @Override
        public String version() {
            return "1";
        }

        @Override
        public Decoded decode(byte[] file) {
            final byte[] rgb = change == null ? file : change.of(file);
            return new Decoded() {
                @Override
                public int orientation() {
                    return 1;
                }

                @Override
                public int width() {
                    return STORED;
                }

                @Override
                public int height() {
                    return STORED;
                }

                @Override
                public void read(int x, int y, int w, int h, int[] into) {
                    for (int i = 0; i < w * h; i++) {
                        int at = ((y + i / w) * STORED + x + i % w) * 3;
                        into[i] = 255 << 24 | (rgb[at] & 255) << 16 | (rgb[at + 1] & 255) << 8 | rgb[at + 2] & 255;
                    }
                }

                @Override
                public void close() {}
            };
        }
    }

    private static byte[] rows() {
        ByteBuffer rows = ByteBuffer.allocate(2 * TestModel.DIMENSION * 4).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < 2 * TestModel.DIMENSION; i++) {
            rows.putFloat(i % TestModel.DIMENSION == 0 ? 1 : 0);
        }
        return rows.array();
    }

    private static String json(byte[] pixels, boolean file) throws IOException {
        String old = TestModel.json();
        String zeros = Sha256.of(new byte[pixels.length]);
        String zeroRows = Sha256.of(new byte[rows().length]);
        String hashes = "";
        for (int i = 0; i < 2; i++) {
            byte[] tensor = new byte[SIDE * SIDE * 3];
            for (int k = 0; k < tensor.length; k++) {
                tensor[k] = (byte) ((pixels()[i * tensor.length + k] & 255) - 128);
            }
            hashes += (i == 0 ? "\"" : ",\"") + Sha256.of(tensor) + "\"";
        }
        String golden = String.format("{\"file\":\"%s\",\"size_bytes\":%d,\"sha256\":\"%s\",\"row\":0,\"width\":%d,\"height\":%d,"
            + "\"decoded_sha256\":\"%s\",\"pixels_sha256\":\"%s\"}", FILE, IMAGE.length, Sha256.of(IMAGE), STORED, STORED,
            Sha256.of(IMAGE), Sha256.of(java.util.Arrays.copyOf(pixels(), SIDE * SIDE * 3)));
        String text = old.replace(zeros, Sha256.of(pixels)).replace("golden/tflite-int8.f32\",\"size_bytes\":192,\"sha256\":\"" + zeroRows,
            "golden/tflite-int8.f32\",\"size_bytes\":192,\"sha256\":\"" + Sha256.of(rows()));
        text = text.replace("\"min_cosine\":0.9}}", "\"min_cosine\":0.99,\"input_sha256\":[" + hashes + "]}}");
        assertFalse(text.equals(old));
        return file ? text.replace("\"files\":[]", "\"files\":[" + golden + "]") : text;
    }

    private static Bundle bundle(String json, byte[] pixels) throws IOException {
        final Map<String, byte[]> files = new HashMap<String, byte[]>();
        files.put("bundle.json", json.getBytes(StandardCharsets.UTF_8));
        files.put("golden/pixels.u8", pixels);
        files.put("golden/tflite-int8.f32", rows());
        files.put(FILE, IMAGE);
        return Bundle.open(new BundleSource() {
            @Override
            public ByteBuffer read(String name) {
                return ByteBuffer.wrap(files.get(name));
            }
        }, null);
    }

    private static Bundle bundle() throws IOException {
        return bundle(json(pixels(), true), pixels());
    }

    private static Embedder embedder(TensorCodec codec) {
        return new Embedder(codec, new Engine() {
            @Override
            public void run(ByteBuffer input, ByteBuffer output) {
                output.putFloat(0, 1);
                output.putFloat(4, input.get(0) / 2000f); // cosine at least 0.997
            }

            @Override
            public void close() {}
        });
    }

    private static GoldenCheck check(Bundle bundle, Change decoding) throws IOException {
        return GoldenCheck.run(bundle, embedder(new TensorCodec(bundle.preprocessing(), bundle.variant())), new Decoder(decoding));
    }

    private static void refused(GoldenCheck check, int step) {
        assertFalse(check.passed());
        assertEquals(check.problem, step, check.step);
        assertTrue(check.problem, check.problem.startsWith("step " + step));
        assertTrue(check.cure, check.cure.contains("docs/"));
        assertTrue("the cosine alone would pass it", check.smallestCosine >= check.needed);
    }

    @Test
    public void whatIsEqualPasses() throws Exception {
        GoldenCheck check = check(bundle(), null);
        assertEquals("", check.problem);
        assertTrue(check.passed());
        assertEquals(1, check.equalFiles);
        assertEquals(2, check.inputs);
        assertEquals(2, check.equalInputs);
    }

    @Test
    public void otherDecodingIsRefused() throws Exception {
        for (Change change : Change.values()) {
            refused(check(bundle(), change), 1);
        }
    }

    @Test
    public void anotherResizeIsRefused() throws Exception {
        refused(check(bundle(json(pixels(), true).replace("\"resize_size\":5", "\"resize_size\":6"), pixels()), null), 2);
    }

    @Test
    public void otherValuesInTheInputAreRefused() throws Exception {
        Bundle bundle = bundle();
        for (final Change change : new Change[] {Change.OFF_BY_ONE, Change.GAMMA}) {
            float[][] table = new float[3][256];
            for (int value = 0; value < 256; value++) {
                for (int channel = 0; channel < 3; channel++) {
                    table[channel][value] = (change.of(new byte[] {(byte) value})[0] & 255) - 128;
                }
            }
            TensorCodec codec = new TensorCodec(bundle.variant().input, bundle.variant().output, table);
            refused(GoldenCheck.run(bundle, embedder(codec), new Decoder(null)), 3);
        }
    }

    @Test
    public void anotherMeanIsRefused() throws Exception {
        refused(check(bundle(json(pixels(), true).replace("\"mean\":[128.0,128.0,128.0]", "\"mean\":[127.5,127.5,127.5]"), pixels()),
            null), 3);
    }

    @Test
    public void aBundleOfOtherPixelsIsRefused() throws Exception {
        for (Change change : Change.values()) {
            byte[] changed = change.of(pixels());
            GoldenCheck check = check(bundle(json(changed, false), changed), null);
            refused(check, 3);
            assertEquals(0, check.equalInputs);
        }
    }

    @Test
    public void anotherModelIsRefused() throws Exception {
        Bundle bundle = bundle();
        GoldenCheck check = GoldenCheck.run(bundle, new Embedder(bundle, new Engine() {
            @Override
            public void run(ByteBuffer input, ByteBuffer output) {
                output.putFloat(0, Float.NaN);
            }

            @Override
            public void close() {}
        }), new Decoder(null));
        assertEquals(4, check.step);
    }

    @Test
    public void anOlderBundleIsCheckedAsBefore() throws Exception {
        String old = json(pixels(), true).replaceAll(",\"input_sha256\":\\[[^\\]]*\\]", "");
        GoldenCheck check = check(bundle(old, pixels()), null);
        assertTrue(check.problem, check.passed());
        assertEquals(0, check.inputs);
        String another = old.replace("\"mean\":[128.0,128.0,128.0]", "\"mean\":[127.5,127.5,127.5]");
        assertTrue("the cosine sees nothing", check(bundle(another, pixels()), null).passed());
        for (String empty : new String[] {"[]", "null"}) {
            String none = json(pixels(), true).replaceAll("\"input_sha256\":\\[[^\\]]*\\]", "\"input_sha256\":" + empty);
            assertEquals(0, check(bundle(none, pixels()), null).inputs);
        }
    }

    @Test
    public void hashesThatDoNotFitAreRefused() throws Exception {
        for (String wrong : new String[] {"[\"00\"]", "[1,2]", "[\"x\",\"y\"]", "3"}) {
            try {
                bundle(json(pixels(), true).replaceAll("\"input_sha256\":\\[[^\\]]*\\]", "\"input_sha256\":" + wrong), pixels());
                fail(wrong);
            } catch (BadFileException expected) {
                assertTrue(expected.getMessage(), expected.getMessage().contains("input_sha256"));
            }
        }
    }
}
