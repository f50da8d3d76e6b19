package org.distilltophone.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.Random;
import org.junit.Test;

public class BundleTest {
    @Test
    public void aGoodOneIsRead() throws Exception {
        Bundle bundle = TestModel.bundle();
        bundle.checkAllFiles();
        assertEquals("tflite-int8", bundle.variant().name);
        assertEquals(24, bundle.dimension());
        assertEquals("abc", bundle.provenance().get("source.id"));
        assertEquals("CC0", bundle.provenance().get("licence.data"));
        assertEquals(2, bundle.goldenPixels().length);
        assertEquals(24, bundle.goldenEmbeddings()[1].length);
    }

    @Test
    public void contradictionsAreRefused() throws Exception {
        String[][] changes = {
            {"\"schema_version\":1", "\"schema_version\":2"}, {"\"schema_version\":1", "\"schema_version\":true"},
            {"\"schema_version\":1,", ""}, {"\"name\":\"test\"", "\"name\":\"\""}, {"\"embedding_size\":24", "\"embedding_size\":25"},
            {"\"embedding_size\":24", "\"embedding_size\":70000"}, {"\"l2\"", "\"none\""}, {"\"input_size\":4", "\"input_size\":8"},
            {"\"input_size\":4", "\"input_size\":5000"}, {"\"resize_size\":5", "\"resize_size\":3"},
            {"pillow_bilinear", "bicubic"}, {"\"RGB\"", "\"BGR\""}, {"\"std\":[128.0", "\"std\":[0.0"},
            {"\"mean\":[128.0", "\"mean\":[1e999"}, {"\"mean\":[128.0,", "\"mean\":["}, {"[1,4,4,3]", "[1,4,4,4]"},
            {"[1,24]", "[1,23]"}, {"\"NHWC\"", "\"NCHW\""}, {"\"int8\",\"scale\":0.0078125", "\"int8\",\"scale\":0"},
            {"\"int8\",\"scale\":0.0078125", "\"int8\",\"scale\":null"}, {"\"int8\",\"scale\":", "\"float32\",\"scale\":"},
            {"\"zero_point\":0", "\"zero_point\":200"}, {"\"zero_point\":0", "\"zero_point\":0.5"},
            {"\"unit_norm\":true", "\"unit_norm\":false"}, {"tflite-int8.tflite", "../tflite-int8.tflite"},
            {"tflite-int8.tflite", "/etc/passwd"}, {"tflite-int8.tflite", "a\\\\b"}, {"tflite-int8.tflite", "con.tflite"},
            {"tflite-int8.tflite", "bundle.json"}, {"tflite-int8.tflite", "golden/Pixels.u8"}, {"\"size_bytes\":96", "\"size_bytes\":95"},
            {"\"count\":2", "\"count\":3"}, {"\"count\":2", "\"count\":2000"}, {"\"pytorch\":{", "\"torch\":{"},
            {"\"tflite-int8\":{", "\"tflite\":{"}, {"\"id\":\"abc\",", ""}, {"\"min_cosine\":0.9}}", "\"min_cosine\":2}}"},
            {"\"variants\":[", "\"variants\":[],\"x\":["}, {"{\"schema", "[{\"schema"}, {"\"name\":\"test\"", "\"name\":test"},
        };
        for (String[] change : changes) {
            String json = TestModel.json();
            assertTrue(change[0], json.contains(change[0]));
            try {
                Bundle.open(TestModel.source(json.replace(change[0], change[1])), null);
                fail(change[0] + " as " + change[1] + " was taken");
            } catch (BadFileException expected) {
                assertTrue(expected.getMessage(), expected.getMessage().startsWith("bundle.json"));
                assertFalse(expected.cure.isEmpty());
            }
        }
    }

    @Test
    public void noiseNeverEscapes() throws Exception {
        Random random = new Random(6);
        String good = TestModel.json();
        String letters = "{}[]\",:0123456789eE-+.tfn\u00e9";
        for (int i = 0; i < 2000; i++) {
            StringBuilder spoilt = new StringBuilder(good);
            for (int k = random.nextInt(3); k >= 0; k--) {
                spoilt.setCharAt(random.nextInt(spoilt.length()), letters.charAt(random.nextInt(letters.length())));
            }
            try {
                Bundle.open(TestModel.source(spoilt.toString()), null).checkAllFiles();
            } catch (BadFileException expected) {
                // and no other exception
            }
        }
    }

    @Test
    public void unknownVariantNamesThoseThatAreThere() throws Exception {
        try {
            Bundle.open(TestModel.source(TestModel.json()), "tflite-int9");
            fail("taken");
        } catch (BadFileException expected) {
            assertTrue(expected.cure.contains("tflite-int8"));
        }
    }

    @Test
    public void contentIsChecked() throws Exception {
        for (String content : new String[] {"another", "a model, longer"}) {
            final byte[] changed = content.getBytes("UTF-8");
            final BundleSource source = TestModel.source(TestModel.json());
            Bundle bundle = Bundle.open(new BundleSource() {
                @Override
                public ByteBuffer read(String name) throws IOException {
                    return name.endsWith(".tflite") ? ByteBuffer.wrap(changed) : source.read(name);
                }
            }, null);
            try {
                bundle.model();
                fail("taken");
            } catch (BadFileException expected) {
                String why = changed.length == TestModel.MODEL_FILE.length ? "SHA-256" : "bytes instead of";
                assertTrue(expected.getMessage(), expected.getMessage().contains(why));
            }
        }
        assertEquals(7, TestModel.bundle().model().remaining());
    }

    @Test
    public void galleryOfAnotherModelIsRefused() throws Exception {
        Bundle bundle = TestModel.bundle();
        String sha256 = bundle.variant().sha256;
        new GalleryFile(sha256, bundle.dimension()).open().checkModel(bundle);
        String[] why = {"another model", "rows of 3 values"};
        Gallery[] galleries = {
            new GalleryFile(sha256.replace('a', 'b'), bundle.dimension()).open(), new GalleryFile(sha256, 3).open(),
        };
        for (int i = 0; i < galleries.length; i++) {
            try {
                galleries[i].checkModel(bundle);
                fail("taken");
            } catch (BadFileException refused) {
                assertTrue(refused.getMessage(), refused.getMessage().contains(why[i]));
            }
        }
    }
}
