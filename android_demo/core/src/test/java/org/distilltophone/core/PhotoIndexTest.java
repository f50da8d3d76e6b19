package org.distilltophone.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertFalse;
import static org.junit.Assert.assertNotEquals;
import static org.junit.Assert.assertTrue;
import static org.junit.Assert.fail;

import java.io.File;
import java.io.IOException;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import org.junit.Rule;
import org.junit.Test;
import org.junit.rules.TemporaryFolder;

public class PhotoIndexTest {
    private static final String MODEL = Samples.sha256("c");

    @Rule public TemporaryFolder folder = new TemporaryFolder();

    /** Photos whose pixels are their stamp, and whose embedding points where the stamp says. */
    static final class Photos implements PhotoSource {
        final Map<String, Long> there = new TreeMap<String, Long>();
        final List<String> decoded = new ArrayList<String>();

        Photos add(int from, int to) {
            for (int i = from; i < to; i++) {
                there.put(String.format("p/%06d", i), (long) i);
            }
            return this;
        }

        @Override
        public void list(Visitor visitor) throws IOException {
            for (Map.Entry<String, Long> one : there.entrySet()) {
                visitor.photo(one.getKey(), one.getValue());
            }
        }

        @Override
        public byte[] pixels(String id) throws IOException, UndecodableException {
            decoded.add(id);
            if (!there.containsKey(id) || id.startsWith("gone")) {
                return null;
            }
            if (id.startsWith("bad")) {
                throw new UndecodableException("no picture");
            }
            if (id.startsWith("hostile")) {
                throw new IllegalStateException("a decoder's bug");
            }
            if (id.startsWith("huge")) {
                throw new OutOfMemoryError("for the test");
            }
            if (id.startsWith("locked")) {
                throw new IOException("not now");
            }
            return TestModel.pixels(there.get(id));
        }
    }

    private PhotoIndex open() throws IOException {
        return PhotoIndex.open(new File(folder.getRoot(), "index"), MODEL, TestModel.DIMENSION);
    }

    private static PhotoIndex.Report update(PhotoIndex index, Photos photos) throws IOException {
        return index.update(photos, TestModel.embedder(), null);
    }

    private static void holds(PhotoIndex index, Photos photos) {
        assertEquals(photos.there.size(), index.count() + index.skipped());
        for (Map.Entry<String, Long> one : photos.there.entrySet()) {
            if (one.getKey().startsWith("p/")) {
                byte[] query = Int8.quantize(TestModel.embedding(one.getValue()));
                List<Match> found = index.search(query, 1);
                assertEquals(1.0, found.get(0).score, 0.02);
                assertEquals(one.getKey(), found.get(0).id);
            }
        }
    }

    @Test
    public void newChangedAndDeletedPhotos() throws Exception {
        Photos photos = new Photos().add(0, 300);
        try (PhotoIndex index = open()) {
            assertTrue(index.search(new byte[TestModel.DIMENSION], 5).isEmpty());
            assertEquals(300, update(index, photos).added);
            holds(index, photos);
        }
        photos.add(300, 310).there.remove("p/000007");
        photos.there.put("p/000008", 9999L);
        photos.decoded.clear();
        try (PhotoIndex index = open()) {
            PhotoIndex.Report report = update(index, photos);
            assertEquals(10, report.added);
            assertEquals(1, report.changed);
            assertEquals(1, report.deleted);
            assertTrue(report.finished);
            assertEquals("only what is new is decoded", 11, photos.decoded.size());
            holds(index, photos);
            assertNotEquals("p/000007", index.search(Int8.quantize(TestModel.embedding(7)), 1).get(0).id);
            photos.decoded.clear();
            update(index, photos);
            assertTrue(photos.decoded.isEmpty());
        }
    }

    @Test
    public void imagesThatCannotBeDecodedAreRemembered() throws Exception {
        Photos photos = new Photos().add(0, 5);
        for (String id : new String[] {"bad", "hostile", "huge", "locked", "gone"}) {
            photos.there.put(id, 1L);
        }
        try (PhotoIndex index = open()) {
            PhotoIndex.Report report = update(index, photos);
            assertEquals(5, report.added);
            assertEquals(3, report.skipped);
            assertEquals(1, report.failed);
            assertEquals(3, index.skipped());
        }
        photos.decoded.clear();
        photos.there.put("bad", 2L); // edited
        try (PhotoIndex index = open()) {
            update(index, photos);
        }
        assertEquals(Arrays.asList("bad", "gone", "locked"), sorted(photos.decoded));
    }

    private static List<String> sorted(List<String> list) {
        List<String> out = new ArrayList<String>(list);
        java.util.Collections.sort(out);
        return out;
    }

    @Test
    public void stoppedItGoesOnLater() throws Exception {
        Photos photos = new Photos().add(0, 50);
        try (PhotoIndex index = open()) {
            PhotoIndex.Report report = index.update(photos, TestModel.embedder(), new PhotoIndex.Progress() {
                @Override
                public boolean at(int done, int total) {
                    assertEquals(50, total);
                    return done < 20;
                }
            });
            assertFalse(report.finished);
            assertEquals(20, index.count());
            assertEquals(30, update(index, photos).added);
            holds(index, photos);
        }
    }

    @Test
    public void killedAtAnyByteItIsWhole() throws Exception {
        Photos photos = new Photos().add(0, 12);
        photos.there.put("bad", 1L);
        try (PhotoIndex index = open()) {
            update(index, photos);
            photos.there.remove("p/000003");
            photos.add(12, 14);
            update(index, photos);
        }
        File log = new File(folder.getRoot(), "index/photos.log");
        byte[] whole = Files.readAllBytes(log.toPath());
        int most = 0;
        for (int length = 0; length <= whole.length; length++) {
            Files.write(log.toPath(), Arrays.copyOf(whole, length));
            try (PhotoIndex index = open()) {
                most = Math.max(most, index.count());
                if (length % 5 == 0 || length == whole.length) {
                    update(index, photos);
                    holds(index, photos);
                }
            }
        }
        assertEquals(13, most);
    }

    @Test
    public void damageInTheMiddleCostsWhatFollows() throws Exception {
        Photos photos = new Photos().add(0, 40);
        try (PhotoIndex index = open()) {
            update(index, photos);
        }
        File log = new File(folder.getRoot(), "index/photos.log");
        byte[] whole = Files.readAllBytes(log.toPath());
        Random random = new Random(2);
        for (int i = 0; i < 60; i++) {
            byte[] spoilt = whole.clone();
            spoilt[random.nextInt(spoilt.length)] ^= 1 << random.nextInt(8);
            Files.write(log.toPath(), spoilt);
            try (PhotoIndex index = open()) {
                update(index, photos);
                holds(index, photos);
            }
        }
    }

    @Test
    public void anotherModelStartsAnew() throws Exception {
        Photos photos = new Photos().add(0, 5);
        try (PhotoIndex index = open()) {
            update(index, photos);
        }
        File at = new File(folder.getRoot(), "index");
        try (PhotoIndex index = PhotoIndex.open(at, Samples.sha256("d"), TestModel.DIMENSION)) {
            assertEquals(0, index.count());
        }
    }

    @Test
    public void aPhotoThatKillsTheProcessIsGivenUp() throws Exception {
        final class Killed extends Error {
            private static final long serialVersionUID = 1;
        }
        final Photos photos = new Photos().add(0, 5);
        PhotoSource deadly = new PhotoSource() {
            @Override
            public void list(Visitor visitor) throws IOException {
                photos.list(visitor);
            }

            @Override
            public byte[] pixels(String id) throws IOException, UndecodableException {
                if (id.equals("p/000002")) {
                    throw new Killed(); // nothing catches it, nothing is written after it
                }
                return photos.pixels(id);
            }
        };
        for (int start = 0; start < 2; start++) {
            try (PhotoIndex index = open()) {
                index.update(deadly, TestModel.embedder(), null);
                fail("not killed");
            } catch (Killed expected) {
                // the process is gone
            }
        }
        try (PhotoIndex index = open()) {
            assertTrue(index.update(deadly, TestModel.embedder(), null).finished);
            assertEquals(4, index.count());
            assertEquals(1, index.skipped());
        }
    }

    @Test
    public void aBrokenModelBlamesNoPhoto() throws Exception {
        Photos photos = new Photos().add(0, 3);
        try (PhotoIndex index = open()) {
            for (int i = 0; i < 3; i++) {
                try {
                    index.update(photos, TestModel.broken(), null);
                    fail("a broken model went unnoticed");
                } catch (IllegalStateException expected) {
                    assertEquals(0, index.skipped());
                }
            }
            assertEquals(3, update(index, photos).added);
        }
    }

    @Test
    public void listThatCannotBeHadDeletesNothing() throws Exception {
        Photos photos = new Photos().add(0, 3);
        try (PhotoIndex index = open()) {
            update(index, photos);
            try {
                index.update(new PhotoSource() {
                    @Override
                    public void list(Visitor visitor) throws IOException {
                        throw new IOException("no permission");
                    }

                    @Override
                    public byte[] pixels(String id) {
                        return null;
                    }
                }, TestModel.embedder(), null);
                fail("no error");
            } catch (IOException expected) {
                assertEquals(3, index.count());
            }
        }
    }

    @Test
    public void oneProcessAtATime() throws Exception {
        try (PhotoIndex index = open()) {
            try {
                open().close();
                fail("opened twice");
            } catch (IOException expected) {
                assertTrue(expected.getMessage().contains("already open"));
            }
        }
        open().close();
    }

    @Test
    public void manyChangesDoNotGrowTheFileWithoutEnd() throws Exception {
        Photos photos = new Photos();
        File log = new File(folder.getRoot(), "index/photos.log");
        try (PhotoIndex index = open()) {
            for (int round = 0; round < 20; round++) {
                photos.there.clear();
                photos.add(round * 700, round * 700 + 1000);
                update(index, photos);
                assertTrue("rewritten", log.length() < (3 << 20));
            }
            holds(index, photos);
        }
        try (PhotoIndex index = open()) {
            assertEquals(1000, index.count());
            holds(index, photos);
        }
    }

    @Test
    public void aHundredThousandPhotos() throws Exception {
        Photos photos = new Photos().add(0, 100000);
        long written;
        try (PhotoIndex index = open()) {
            assertEquals(100000, update(index, photos).added);
            written = new File(folder.getRoot(), "index/photos.log").length();
        }
        photos.add(100000, 100010);
        try (PhotoIndex index = open()) {
            assertEquals(100000, index.count());
            assertEquals(10, update(index, photos).added);
        }
        long grown = new File(folder.getRoot(), "index/photos.log").length() - written;
        assertTrue("ten photos cost " + grown + " bytes", grown < 2000);
    }

    @Test
    public void killedForRealAgainAndAgain() throws Exception {
        File at = new File(folder.getRoot(), "killed");
        String java = new File(System.getProperty("java.home"), "bin/java").getPath();
        Random random = new Random(5);
        int before = 0;
        int kills = 0;
        for (int round = 0; round < 6; round++) {
            Process process = new ProcessBuilder(java, "-Xshare:auto", "-cp", System.getProperty("java.class.path"),
                "org.distilltophone.core.EndlessIndexing", at.getPath()).redirectErrorStream(true).start();
            process.getInputStream().read(); // it has done a part
            Thread.sleep(random.nextInt(60));
            kills += process.isAlive() ? 1 : 0;
            process.destroyForcibly().waitFor();
            try (PhotoIndex index = PhotoIndex.open(at, MODEL, TestModel.DIMENSION)) {
                assertTrue("nothing is lost", index.count() >= before);
                before = index.count();
            }
        }
        assertTrue("it was killed at work", kills > 3);
        assertTrue("it went on", before > 0);
    }
}
