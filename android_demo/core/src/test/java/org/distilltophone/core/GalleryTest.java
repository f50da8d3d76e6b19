package org.distilltophone.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNull;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import com.eclipsesource.json.Json;
import com.eclipsesource.json.JsonArray;
import com.eclipsesource.json.JsonObject;
import com.eclipsesource.json.JsonValue;
import java.io.File;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.util.Random;
import org.junit.Test;

public class GalleryTest {
    private static final File GOLDEN = new File("../../tests/gallery/golden");

    private static byte[] built(int count) {
        Random random = new Random(3);
        GalleryFile file = new GalleryFile(Samples.sha256("b"), 12);
        for (int i = 0; i < count; i++) {
            file.add("images/é" + i + ".jpg", Samples.code(12, random), i % 2 == 0 ? new byte[] {(byte) i, 1} : null);
        }
        return file.build();
    }

    @Test
    public void everythingIsRead() throws Exception {
        Gallery gallery = Gallery.of(ByteBuffer.wrap(built(100)));
        assertEquals(100, gallery.count());
        assertEquals(12, gallery.dimension());
        assertEquals("images/é42.jpg", gallery.id(42));
        assertArrayEquals(new byte[] {42, 1}, gallery.thumbnail(42));
        assertNull(gallery.thumbnail(43));
        assertEquals("a model", gallery.model().name);
        assertNull(gallery.bits());
        byte[] row = new byte[12];
        gallery.rows().get(row);
        assertArrayEquals(Samples.code(12, new Random(3)), row);
        TopK top = new TopK(3);
        new FlatIndex(Gallery.of(ByteBuffer.wrap(built(0)))).search(new byte[12], 3, top);
        assertEquals(0, top.size());
    }

    @Test
    public void theBufferMayHoldMore() throws Exception {
        byte[] good = built(20);
        ByteBuffer within = ByteBuffer.allocate(good.length + 100);
        within.position(37);
        within.put(good).flip().position(37);
        assertEquals("images/é7.jpg", Gallery.of(within).id(7));
    }

    @Test
    public void idsThatLeadOutOfAFolderAreRefused() throws Exception {
        for (String id : new String[] {"", "/a", "a/", "a//b", "..", "a/../b", "./a", "a\0b"}) {
            refused("id '" + id + "'", new GalleryFile(Samples.sha256("b"), 1).add(id, new byte[1], null).build());
        }
        assertEquals("a/.b..c", new GalleryFile(Samples.sha256("b"), 1).add("a/.b..c", new byte[1], null).open().id(0));
    }

    @Test
    public void goldenGalleriesRankAsInPython() throws Exception {
        String text = new String(Files.readAllBytes(new File(GOLDEN, "expected.json").toPath()), StandardCharsets.UTF_8);
        JsonObject expected = Json.parse(text).asObject();
        float[][] queries = floats("queries.f32", expected.get("codes").asArray().get(0).asArray().size());
        float[][] embeddings = floats("embeddings.f32", expected.get("codes").asArray().get(0).asArray().size());
        Gallery gallery = golden("int8.gallery");
        byte[] row = new byte[gallery.dimension()];
        ByteBuffer rows = gallery.rows();
        assertEquals(embeddings.length, gallery.count());
        for (int i = 0; i < embeddings.length; i++) {
            assertEquals(expected.get("ids").asArray().get(i).asString(), gallery.id(i));
            rows.get(row);
            assertArrayEquals(row, Int8.quantize(embeddings[i]));
            byte[] even = Int8.row(embeddings[i]);
            for (int d = 0; d < even.length; d++) {
                assertEquals(expected.get("row_codes").asArray().get(i).asArray().get(d).asInt(), even[d]);
            }
            JsonArray words = expected.get("bits_int8").asArray().get(i).asArray();
            for (int w = 0; w < words.size(); w++) {
                long word = Long.parseUnsignedLong(words.get(w).asString(), 16);
                assertEquals(word, gallery.bits().getLong((i * words.size() + w) * 8));
            }
        }
        TopK top = new TopK(1);
        for (int q = 0; q < queries.length; q++) {
            JsonArray wanted = expected.get("ranking").asArray().get(q).asArray();
            JsonArray products = expected.get("products").asArray().get(q).asArray();
            new FlatIndex(gallery).search(Int8.quantize(queries[q]), wanted.size(), top);
            for (int i = 0; i < wanted.size(); i++) {
                assertEquals(wanted.get(i).asInt(), top.row(i));
                assertEquals(products.get(i).asInt(), top.dot(i));
            }
        }
    }

    private static Gallery golden(String name) throws IOException {
        return Gallery.of(ByteBuffer.wrap(Files.readAllBytes(new File(GOLDEN, name).toPath())));
    }

    private static float[][] floats(String name, int dimension) throws IOException {
        ByteBuffer all = ByteBuffer.wrap(Files.readAllBytes(new File(GOLDEN, name).toPath())).order(ByteOrder.LITTLE_ENDIAN);
        float[][] out = new float[all.capacity() / 4 / dimension][dimension];
        for (float[] row : out) {
            for (int d = 0; d < dimension; d++) {
                row[d] = all.getFloat();
            }
        }
        return out;
    }

    @Test
    public void floatGalleriesAreSearchedAsInt8() throws Exception {
        Gallery gallery = golden("float32.gallery");
        Gallery int8 = golden("int8.gallery");
        assertTrue(gallery.isFloat());
        byte[] a = new byte[int8.count() * int8.dimension()];
        byte[] b = a.clone();
        int8.rows().get(a);
        gallery.rows().get(b);
        assertArrayEquals(a, b);
    }

    @Test
    public void contradictionsAreRefused() throws Exception {
        byte[] good = built(20);
        String[][] changes = {
            {"count", "21"}, {"count", "-1"}, {"count", "2147483647"}, {"count", "20.5"}, {"dimension", "13"},
            {"dimension", "0"}, {"dimension", "70000"}, {"dtype", "\"float32\""}, {"dtype", "\"int4\""}, {"scale", "1"},
            {"scale", "1e999"}, {"schema_version", "2"}, {"model", "{}"}, {"sections", "{}"}, {"sections", "[]"},
            {"model.sha256", "\"xyz\""}, {"sections.ids.offset", "1"}, {"sections.ids.offset", "64"},
            {"sections.ids.offset", "99999999999999"}, {"sections.ids.bytes", "99999"}, {"sections.embeddings.bytes", "239"},
            {"sections.ids.offset", "9223372036854775807"}, {"sections.thumbnails", "null"}, {"sections.id_offsets", "{}"},
        };
        for (String[] change : changes) {
            refused(change[0] + " = " + change[1], changed(good, change[0], change[1]));
        }
        for (int length = 0; length < good.length; length += 1 + length / 50) {
            refused("cut at " + length, java.util.Arrays.copyOf(good, length));
        }
    }

    /** The file with one field of the header changed; "a.b" is b in a. */
    private static byte[] changed(byte[] good, String field, String value) {
        int headerBytes = ByteBuffer.wrap(good).order(ByteOrder.LITTLE_ENDIAN).getInt(12);
        JsonObject header = Json.parse(new String(good, 16, headerBytes, StandardCharsets.UTF_8)).asObject();
        JsonObject at = header;
        String[] path = field.split("\\.");
        for (int i = 0; i + 1 < path.length; i++) {
            at = at.get(path[i]).asObject();
        }
        JsonValue replaced = Json.parse(value);
        at.set(path[path.length - 1], replaced);
        byte[] text = java.util.Arrays.copyOf(header.toString().getBytes(StandardCharsets.UTF_8), headerBytes);
        for (int i = headerBytes - 1; text[i] == 0; i--) {
            text[i] = ' ';
        }
        byte[] out = good.clone();
        System.arraycopy(text, 0, out, 16, headerBytes);
        return out;
    }

    private static void refused(String what, byte[] data) throws IOException {
        try {
            Gallery.of(ByteBuffer.wrap(data));
            fail(what + " was taken");
        } catch (BadFileException expected) {
            assertFalse(expected.cure.isEmpty());
        }
    }

    @Test
    public void noiseNeverEscapes() throws Exception {
        byte[] good = built(20);
        Random random = new Random(4);
        TopK top = new TopK(5);
        for (int i = 0; i < 3000; i++) {
            byte[] spoilt = good.clone();
            for (int k = random.nextInt(4); k >= 0; k--) {
                int at = random.nextBoolean() ? random.nextInt(3000) : random.nextInt(spoilt.length);
                spoilt[at] = (byte) (random.nextBoolean() ? '0' + random.nextInt(10) : random.nextInt());
            }
            try {
                Gallery gallery = Gallery.of(ByteBuffer.wrap(spoilt));
                for (int row = 0; row < gallery.count(); row++) {
                    gallery.id(row);
                    gallery.thumbnail(row);
                }
                new FlatIndex(gallery).search(new byte[gallery.dimension()], 5, top);
            } catch (BadFileException expected) {
                // one line and a cure, and no other exception
            }
        }
    }
}
